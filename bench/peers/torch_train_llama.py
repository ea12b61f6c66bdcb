"""Tokens a second, and memory, of training a llama with eager PyTorch in f32 on the CPU. Prints JSON.

    torch_train_llama.py --threads 2

A step is forward, mean cross-entropy over all tokens, backward and AdamW (PyTorch's fused one unless --optimiser says
otherwise; decay 0.1 of all weights) on batches of random tokens, made before. Head and embedding are two matrices
unless --tied. Memory is the growth of the resident set from before the first step to its peak in the first three.
"""

from __future__ import annotations

import argparse
import json
import math

import torch

from trainable_llama import LlamaShape, TrainableLlama, deviation
from training_steps import add_measurement_flags, measure_steps, under_each_allocator


def make_step(arguments: argparse.Namespace):
    torch.manual_seed(1)
    shape = LlamaShape(
        arguments.layers, arguments.width, arguments.heads, arguments.kv_heads or arguments.heads,
        arguments.intermediate, arguments.vocabulary, arguments.tied,
    )  # fmt: skip
    model = TrainableLlama(shape)
    for name, weight in model.named_parameters():
        spread = deviation(name, shape)
        if spread is not None:
            torch.nn.init.normal_(weight, std=spread)
    kind = {arguments.optimiser: True} if arguments.optimiser != "loop" else {"foreach": False}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, **kind)
    size = (arguments.batch, arguments.context + 1)
    batches = [torch.randint(arguments.vocabulary, size) for _ in range(4)]
    losses: list[float] = []

    def step() -> None:
        tokens = batches[len(losses) % len(batches)]
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ArithmeticError(f"step {len(losses)}: the loss is {losses[-1]}")

    return model, step, losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, help="default: as many as heads")
    parser.add_argument("--intermediate", type=int, default=688)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--optimiser", choices=["fused", "foreach", "loop"], default="fused")
    add_measurement_flags(parser)
    arguments = parser.parse_args()
    if arguments.in_process:
        torch.set_num_threads(arguments.threads)
        model, step, losses = make_step(arguments)
        found = measure_steps(step, arguments.warm_up, arguments.repeats)
        result = {
            "torch": torch.__version__, "threads": arguments.threads,
            "weights": sum(weight.numel() for weight in model.parameters()),
            "tokens_per_s": arguments.batch * arguments.context / found["median_step_s"],
            **found, "first_loss": losses[0], "last_loss": losses[-1],
        }  # fmt: skip
    else:
        result = under_each_allocator(arguments.preload, "tokens_per_s")
    print(json.dumps(result, indent=2))
