"""Writes the two kinds of torch files that tests read: write.py FOLDER (PyTorch needed, see bench/peers)."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch

# First of all dtypes that Pare reads: 0, 1 (and 2) in each.
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    base = torch.arange(24, dtype=torch.float32)
    state = OrderedDict()
    state["whole"] = base.view(4, 6)
    state["transposed"] = base.view(4, 6).t()
    state["every.fourth"] = base[3:19:4]
    state["repeated"] = base[5:6].expand(3, 4)
    state["scalar"] = torch.tensor(7.0)
    state["empty"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    for dtype in DTYPES:
        state[str(dtype)] = torch.arange(2).to(dtype)
    saved = {
        "state_dict": state, "epoch": 3, "lr": 0.125, "name": "tiny é", "best": None, "done": True, "large": 2**70,
        "least": -5, "list": [torch.full((1,), 9.0), (1, 2)],
    }  # fmt: skip
    torch.save(saved, folder / "zip.pth")
    torch.save(saved, folder / "old.pth", _use_new_zipfile_serialization=False)
