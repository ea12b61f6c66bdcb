"""GPTQ as a plain PyTorch loop, block by block, with the time of forwards and of the rest apart. Prints JSON.

    torch_gptq.py MODEL CALIBRATION.json --evaluation HELD_OUT.json --bits 3 --group-size 64

Frantar et al. 2022 (arXiv 2210.17323), the order of work of its repository: symmetric grid, act-order with groups
along the permuted columns, each fitted on the lazily updated weights (or, with --static-groups, in file order on the
original weights); damping 0.01 of the mean diagonal.
The window files come from `interop/oracle/evaluate.py --dump`.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor

from torch_walk import arguments, compress, timed, upper_factor


def symmetric_scale(w: Tensor, bits: int) -> Tensor:
    """[rows, 1]: the grid reaches from -absmax to absmax."""
    largest = w.abs().amax(dim=1, keepdim=True)
    return torch.where(largest == 0, 1.0, largest) * (2 / (2**bits - 1))


def rounded(w: Tensor, scale: Tensor, bits: int) -> Tensor:
    zero = 2 ** (bits - 1)
    return scale * ((w / scale).round() + zero).clamp_(0, 2**bits - 1).sub_(zero)


def gptq(weight: Tensor, h: Tensor, options: argparse.Namespace, damping: float = 0.01, columns: int = 128) -> Tensor:
    """Returns the dequantised weight [out, in]."""
    bits, group_size = options.bits, options.group_size
    w = weight.clone()
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    w[:, dead] = 0
    order = torch.argsort(h.diagonal(), descending=True)
    static = [symmetric_scale(group, bits) for group in w.split(group_size, dim=1)] if options.static_groups else []
    w, h = w[:, order], h[order][:, order]
    with timed("factors"):
        u = upper_factor(h, damping)
    with timed("sweep"):
        quantised = torch.empty_like(w)
        scale = symmetric_scale(w, bits)
        for start in range(0, w.shape[1], columns):
            end = min(start + columns, w.shape[1])
            block, factor = w[:, start:end].clone(), u[start:end, start:end]
            errors = torch.empty(w.shape[0], end - start)
            for i in range(end - start):
                if static:
                    scale = static[int(order[start + i]) // group_size]
                elif group_size > 0 and (start + i) % group_size == 0:
                    scale = symmetric_scale(w[:, start + i : start + i + group_size], bits)
                q = rounded(block[:, i : i + 1], scale, bits)[:, 0]
                errors[:, i] = (block[:, i] - q) / factor[i, i]
                block[:, i:].addr_(errors[:, i], factor[i, i:], alpha=-1)
                quantised[:, start + i] = q
            w[:, end:].addmm_(errors, u[start:end, end:], alpha=-1)
    return quantised[:, torch.argsort(order)]


def main(options: argparse.Namespace) -> None:
    result = compress(options, lambda weight, h: gptq(weight, h, options))
    own = {"bits": options.bits, "group_size": options.group_size, "static_groups": options.static_groups}
    print(json.dumps(own | result, indent=2))


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--group-size", type=int, default=64, help="columns a scale; 0: one a row")
    parser.add_argument("--static-groups", action="store_true", help="groups in file order, fitted before the sweep")
    main(parser.parse_args())
