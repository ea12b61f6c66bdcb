"""What PyTorch's optimisers, schedules, clipping and averages give in float64: the values that
src/optim/torch_values.json holds for the tests. Prints JSON.

    torch-venv/bin/python torch_optimisers.py > ../../src/optim/torch_values.json
"""

from __future__ import annotations

import json
import sys

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler, swa_utils

STEPS = 6
START = [1.0, -0.5, 0.25, 2.0]


def gradient(step: int) -> list[float]:
    """Eighths, so that every program has the same numbers."""
    return [((7 * step + 3 * index) % 11 - 5) / 8 for index in range(len(START))]


RUNS = {
    "sgd": (SGD, {"lr": 0.1}),
    "sgd with decay": (SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "sgd with momentum": (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "sgd with dampening": (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd with Nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    "adam": (Adam, {}),
    "adam with decay": (Adam, {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    "adam without momentum": (Adam, {"lr": 0.05, "betas": (0.0, 0.95), "eps": 0.001}),
    "adamW": (AdamW, {}),
    "adamW with decay": (AdamW, {"lr": 0.05, "betas": (0.3, 0.99), "weight_decay": 0.1, "eps": 1e-6}),
}


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor(START, dtype=torch.float64))


def run(make: type[Optimizer], options: dict[str, object]) -> list[list[float]]:
    """The parameter after every step."""
    p = parameter()
    optimiser = make([p], **options)
    found = []
    for step in range(1, STEPS + 1):
        p.grad = torch.tensor(gradient(step), dtype=torch.float64)
        optimiser.step()
        found.append(p.tolist())
    return found


def rates(make: type[lr_scheduler.LRScheduler], options: dict[str, object], count: int = 12) -> list[float]:
    """Learning rates of the first steps, from a rate of 0.8."""
    optimiser = SGD([parameter()], lr=0.8)
    schedule = make(optimiser, **options)
    found = []
    for _ in range(count):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def clipped(limit: float) -> dict[str, object]:
    tensors = [parameter(), nn.Parameter(torch.ones(3, dtype=torch.float64))]
    tensors[0].grad = torch.tensor(gradient(1), dtype=torch.float64)
    tensors[1].grad = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)
    norm = nn.utils.clip_grad_norm_(tensors, limit)
    return {"limit": limit, "norm": norm.item(), "gradients": [p.grad.tolist() for p in tensors]}


def averages(average: object) -> list[list[float]]:
    """Averages after each of the first steps of plain descent."""
    holder = nn.Module()
    holder.p = parameter()
    model = swa_utils.AveragedModel(holder, **average)
    optimiser = SGD(holder.parameters(), lr=0.1)
    found = []
    for step in range(1, STEPS + 1):
        holder.p.grad = torch.tensor(gradient(step), dtype=torch.float64)
        optimiser.step()
        model.update_parameters(holder)
        found.append(model.module.p.tolist())
    return found


json.dump(
    {
        "torch": torch.__version__,
        "optimisers": {name: run(make, options) for name, (make, options) in RUNS.items()},
        "schedules": {
            "linear": rates(lr_scheduler.LinearLR, {"start_factor": 0.25, "end_factor": 1.0, "total_iters": 5}),
            "cosine": rates(lr_scheduler.CosineAnnealingLR, {"T_max": 11, "eta_min": 0.05}),
            "milestones": rates(lr_scheduler.MultiStepLR, {"milestones": [2, 5, 9], "gamma": 0.3}),
            "stairs": rates(lr_scheduler.StepLR, {"step_size": 4, "gamma": 0.3}),
            "exponential": rates(lr_scheduler.ExponentialLR, {"gamma": 0.7}),
        },
        "clipping": [clipped(1.0), clipped(100.0)],
        "averages": {
            "exponential": averages({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)}),
            "mean": averages({}),
        },
    },
    sys.stdout,
    indent=1,
)
print()
