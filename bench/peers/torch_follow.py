"""Trains two tiny models for 20 steps, so that Pare can be followed step by step. Writes follow/*.json.

    torch_follow.py [FOLDER]

Every run is done in float64 and in float32, on one thread, from the same numbers of float32. follow/README.md has the
recipe to the last detail.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from random_streams import Stream
from trainable_llama import LlamaShape, TrainableLlama, deviation
from trainable_resnet import TrainableResNet

SEED, STEPS, STORED_STEPS = 5, 20, (1, 5, 20)
LLAMA = LlamaShape(
    layers=2, width=64, heads=4, kv_heads=2, intermediate=172, vocabulary=256, tied=True, epsilon=1e-5, rotary_base=1e4
)
LLAMA_DEVIATION, BATCH, CONTEXT = 0.1, 4, 32
RESNET = {"blocks": 1, "widths": [8, 16, 32], "channels": 3, "classes": 10}
IMAGES, SIDE = 8, 16

Batch = tuple[Tensor, Tensor]


def fresh(name: str, shape: tuple[int, ...], spread: float) -> NDArray[np.float32]:
    return (Stream(SEED, name).normal(shape) * spread).astype(np.float32)


def fresh_llama() -> TrainableLlama:
    model = TrainableLlama(LLAMA)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = deviation(name, LLAMA, LLAMA_DEVIATION)
            if spread is not None:
                weight.copy_(torch.from_numpy(fresh(name, tuple(weight.shape), spread)))
    return model


def llama_batches() -> Iterator[Batch]:
    """Each token is 5 times the one before, plus 0 to 3, modulo 256; targets are the next tokens."""
    stream = Stream(SEED, "tokens")
    for _ in range(STEPS):
        tokens = stream.bits((BATCH, CONTEXT + 1)) % 256
        for at in range(1, CONTEXT + 1):
            tokens[:, at] = (5 * tokens[:, at - 1] + tokens[:, at] % 4) % 256
        yield torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(tokens[:, 1:].copy())


def fresh_resnet() -> TrainableResNet:
    model = TrainableResNet(RESNET["blocks"], tuple(RESNET["widths"]), RESNET["channels"], RESNET["classes"])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 4:
                outputs, inputs, height, width = weight.shape
                drawn = fresh(name, (outputs, height, width, inputs), math.sqrt(2 / (height * width * inputs)))
                weight.copy_(torch.from_numpy(drawn.transpose(0, 3, 1, 2)))
            elif name == "head.weight":
                weight.copy_(torch.from_numpy(fresh(name, tuple(weight.shape), math.sqrt(1 / weight.shape[1]))))
            elif name == "head.bias":
                weight.zero_()
    return model


def resnet_batches() -> Iterator[Batch]:
    """Each image is the pattern of its class plus noise, rounded to f32."""
    noise, labels = Stream(SEED, "images"), Stream(SEED, "labels")
    patterns = Stream(SEED, "patterns").normal((RESNET["classes"], SIDE, SIDE, RESNET["channels"]))
    for _ in range(STEPS):
        label = labels.bits((IMAGES,)) % RESNET["classes"]
        image = (noise.normal((IMAGES, SIDE, SIDE, RESNET["channels"])) + patterns[label]).astype(np.float32)
        yield torch.from_numpy(image.transpose(0, 3, 1, 2).copy()), torch.from_numpy(label)


def sgd(decay: float) -> dict[str, Any]:
    return {"kind": "sgd", "rate": 0.05, "momentum": 0.9, "decay": decay}


ADAMW = {"kind": "adamw", "rate": 0.003, "betas": [0.9, 0.999], "epsilon": 1e-8, "decay": 0.1}


def optimiser_of(model: nn.Module, options: dict[str, Any]) -> torch.optim.Optimizer:
    rate, decay, weights = options["rate"], options["decay"], model.parameters()
    if options["kind"] == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=options["momentum"], weight_decay=decay)
    betas = tuple(options["betas"])
    return torch.optim.AdamW(weights, lr=rate, betas=betas, eps=options["epsilon"], weight_decay=decay)


def summary(model: nn.Module) -> dict[str, Any]:
    """Norm and first numbers of every weight and running statistic, images and kernels channels last."""
    found = {}
    for name, x in model.state_dict().items():
        if x.is_floating_point():
            ours = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
            first = ours.reshape(-1)[:4].tolist()
            found[name] = {"shape": list(ours.shape), "norm": x.double().norm().item(), "first": first}
    return found


def follow(
    make: Callable[[], nn.Module], batches: Callable[[], Iterator[Batch]], options: dict[str, Any], dtype: torch.dtype
) -> dict[str, Any]:
    model = make().to(dtype).train()
    optimiser = optimiser_of(model, options)
    losses, norms, weights = [], [], {}
    for step, (inputs, targets) in enumerate(batches(), start=1):
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss(inputs.to(dtype) if inputs.is_floating_point() else inputs, targets)
        loss.backward()
        squares = [weight.grad.double().square().sum().item() for weight in model.parameters()]
        optimiser.step()
        losses.append(loss.item())
        norms.append(math.sqrt(math.fsum(squares)))
        if step in STORED_STEPS:
            weights[str(step)] = summary(model)
    return {"losses": losses, "gradientNorms": norms, "weights": weights}


def run(make: Any, batches: Any, description: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    inputs, targets = next(batches())
    ours = inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs
    return {
        "torch": torch.__version__, "seed": SEED, "model": description, "optimiser": options,
        "firstBatch": {"inputs": ours.reshape(-1)[:8].tolist(), "targets": targets.reshape(-1)[:8].tolist()},
        "initial": summary(make()),
        "float64": follow(make, batches, options, torch.float64),
        "float32": follow(make, batches, options, torch.float32),
    }  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "follow"
    torch.set_num_threads(1)
    llama = {**asdict(LLAMA), "deviation": LLAMA_DEVIATION, "batch": BATCH, "context": CONTEXT}
    resnet = {**RESNET, "side": SIDE, "batch": IMAGES}
    runs = {
        "llama-sgd": (fresh_llama, llama_batches, llama, sgd(decay=0.0)),
        "llama-adamw": (fresh_llama, llama_batches, llama, ADAMW),
        "resnet-sgd": (fresh_resnet, resnet_batches, resnet, sgd(decay=1e-4)),
        "resnet-adamw": (fresh_resnet, resnet_batches, resnet, ADAMW),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in runs.items():
        result = run(*parts)
        (folder / f"{name}.json").write_text(json.dumps(result) + "\n")
        for kind in ("float64", "float32"):
            losses = result[kind]["losses"]
            print(f"{name} {kind}: loss {losses[0]:.4f} to {losses[-1]:.4f}", file=sys.stderr)
