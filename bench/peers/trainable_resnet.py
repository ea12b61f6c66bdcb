"""ResNets for small images (He et al., arXiv 1512.03385, section 4.2; option A shortcuts) in plain PyTorch.

Depth 6n + 2: a 3 x 3 stem, three stages of n basic blocks, an average over the image, a linear head. The first block of
stages 1 and 2 has stride 2; its shortcut takes every second row and column and appends channels of zeros after those it
has. Every convolution is 3 x 3, padded by 1 on all sides, without bias, followed by batch norm.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class Stem(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.norm = conv3x3(inputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1, self.norm1 = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.added:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(h + x)


class TrainableResNet(nn.Module):
    def __init__(self, blocks: int, widths: tuple[int, int, int], channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem = Stem(channels, widths[0])
        self.stages = nn.ModuleList()
        inputs = widths[0]
        for index, width in enumerate(widths):
            first = BasicBlock(inputs, width, stride=1 if index == 0 else 2)
            others = [BasicBlock(width, width, stride=1) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(first, *others))
            inputs = width
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """[batch, channels, height, width] to logits [batch, classes]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch, in nats."""
        return F.cross_entropy(self(images), labels)
