"""A plain PyTorch llama with fused attention, its weights read by the oracle's GGUF or folder reader."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "interop" / "oracle"))

import llama_forward  # noqa: E402


class RmsNorm(nn.Module):
    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(weight, requires_grad=False), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


class Block(nn.Module):
    """One decoder block: x [batch, tokens, width] to the same shape."""

    def __init__(self, weights: dict[str, Tensor], config: llama_forward.LlamaConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        for name in llama_forward.LINEARS:
            made = linear(weights[f"{name}.weight"], weights.get(f"{name}.bias"))
            setattr(self, name.split(".")[1], made)
        self.input_norm = RmsNorm(weights["input_layernorm.weight"], config.epsilon)
        self.post_norm = RmsNorm(weights["post_attention_layernorm.weight"], config.epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.input_norm(x), cos, sin)
        h = self.post_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, count, _ = x.shape
        q = self.q_proj(x).view(batch, count, self.heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(batch, count, self.kv_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(batch, count, self.kv_heads, self.head_size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, count, -1))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class TorchLlama(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        loaded = llama_forward.load(path)
        if loaded.config.window is not None:
            raise ValueError(f"{path}: a sliding window is not supported")
        weights = {name: torch.from_numpy(w.copy()) for name, w in loaded.weights.items()}
        self.config = loaded.config
        self.embedding = nn.Parameter(weights["model.embed_tokens.weight"], requires_grad=False)
        self.head = nn.Parameter(weights.get("lm_head.weight", self.embedding), requires_grad=False)
        self.norm = RmsNorm(weights["model.norm.weight"], self.config.epsilon)
        self.blocks = nn.ModuleList()
        for index in range(self.config.layers):
            prefix = f"model.layers.{index}."
            own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
            self.blocks.append(Block(own, self.config))

    def rotary(self, count: int) -> tuple[Tensor, Tensor]:
        angles = torch.arange(count, dtype=torch.float64)[:, None] * torch.from_numpy(self.config.frequencies)
        return angles.cos().float(), angles.sin().float()

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens] to logits [batch, tokens, vocabulary]."""
        x = F.embedding(tokens, self.embedding)
        cos, sin = self.rotary(tokens.shape[1])
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.head)


def perplexity(model: TorchLlama, windows: list[list[int]]) -> float:
    """exp of the average over windows of their mean negative log-likelihood."""
    total = 0.0
    for window in windows:
        logits = model(torch.tensor([window]))[0, :-1]
        total += F.cross_entropy(logits, torch.tensor(window[1:])).item()
    return math.exp(total / len(windows))


def read_windows(path: str) -> list[list[int]]:
    """Token windows as `interop/oracle/evaluate.py --dump` writes them."""
    windows: Any = json.loads(Path(path).read_text())
    return windows
