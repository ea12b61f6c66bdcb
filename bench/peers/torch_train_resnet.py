"""Images a second, and memory, of training a CIFAR-style ResNet with eager PyTorch in f32 on the CPU. Prints JSON.

    torch_train_resnet.py --threads 2

ResNet-20 unless --blocks says otherwise. A step is forward, mean cross-entropy, backward and SGD (momentum 0.9, decay
1e-4 of all weights) on batches of random images, made before. Each allocator is tried with both orders of memory,
and the faster one counts. Memory is the growth of the resident set from before the first step to its peak in the first
three.
"""

from __future__ import annotations

import argparse
import json
import math

import torch

from trainable_resnet import TrainableResNet
from training_steps import add_measurement_flags, measure_steps, under_each_allocator

ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def make_step(arguments: argparse.Namespace):
    torch.manual_seed(1)
    order = ORDERS[arguments.order]
    model = TrainableResNet(arguments.blocks, tuple(arguments.widths)).to(memory_format=order)
    kind = {arguments.optimiser: True} if arguments.optimiser != "loop" else {"foreach": False}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, **kind)
    size = (arguments.batch, 3, arguments.side, arguments.side)
    batches = [(torch.randn(size).to(memory_format=order), torch.randint(10, size[:1])) for _ in range(4)]
    losses: list[float] = []

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss(*batches[len(losses) % len(batches)])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ArithmeticError(f"step {len(losses)}: the loss is {losses[-1]}")

    return model, step, losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=3, help="blocks a stage; the depth is six times that and 2")
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64])
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--order", choices=list(ORDERS), help="default: both, one after the other")
    parser.add_argument("--optimiser", choices=["fused", "foreach", "loop"], default="fused")
    add_measurement_flags(parser)
    arguments = parser.parse_args()
    if arguments.in_process:
        torch.set_num_threads(arguments.threads)
        model, step, losses = make_step(arguments)
        found = measure_steps(step, arguments.warm_up, arguments.repeats)
        result = {
            "torch": torch.__version__, "threads": arguments.threads, "order": arguments.order,
            "weights": sum(weight.numel() for weight in model.parameters()),
            "images_per_s": arguments.batch / found["median_step_s"],
            **found, "first_loss": losses[0], "last_loss": losses[-1],
        }  # fmt: skip
    else:
        orders = [arguments.order] if arguments.order else list(ORDERS)
        results = {
            order: under_each_allocator(arguments.preload, "images_per_s", ["--order", order]) for order in orders
        }
        best = max(results, key=lambda order: results[order]["images_per_s"])
        result = {"best": best, "images_per_s": results[best]["images_per_s"], "orders": results}
    print(json.dumps(result, indent=2))
