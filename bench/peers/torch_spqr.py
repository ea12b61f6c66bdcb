"""SpQR as a plain PyTorch loop, block by block, with the time of forwards and of the rest apart. Prints JSON.

    torch_spqr.py MODEL CALIBRATION.json --evaluation HELD_OUT.json

Dettmers et al. 2023 (arXiv 2306.03078), section 4 and algorithm 1, written from the paper: groups of 16 columns along
the order of diag H, whose scales and zeros are codes of 3 bits that 16 rows share; ranges are fitted without the
weights whose absence lowers the squared error of the group by more than the threshold; outliers are kept in f16.
The defaults are Pare's. The window files come from `interop/oracle/evaluate.py --dump`.
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor

from torch_walk import arguments, compress, timed, upper_factor

# Shapes end in rows: columns come first, so that what one step touches lies together in memory.


def half(x: Tensor) -> Tensor:
    return x.half().float()


def grid(low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero of a range, neither rounded."""
    scale = torch.where(high > low, (high - low) / (2**bits - 1), 1.0)
    return scale, -low / scale


def nearest(w: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """The values of the codes nearest to w."""
    return (w / scale).add_(zero).round_().clamp_(0, 2**bits - 1).sub_(zero).mul_(scale)


def coded(x: Tensor, bits: int, run: int) -> Tensor:
    """Scales or zeros [rows] on a grid that each run of rows shares; its own scale and zero are f16."""
    runs = x.view(-1, run)
    low, high = runs.aminmax(dim=1, keepdim=True)
    scale = half(grid(low, high, bits)[0]).clamp_min_(2**-24)
    return nearest(runs, scale, half(-low / scale), bits).view(-1)


def likely_outliers(w: Tensor, d: Tensor, threshold: float, bits: int) -> Tensor:
    """Of a group w [columns, rows] with d [columns, 1]: where the group loses more than the threshold with the weight."""
    absent = torch.eye(w.shape[0], dtype=torch.bool)[:, :, None]  # [absent, columns, 1]
    low = w.masked_fill(absent, torch.inf).amin(dim=1, keepdim=True)  # [absent, 1, rows]
    high = w.masked_fill(absent, -torch.inf).amax(dim=1, keepdim=True)
    errors = nearest(w, *grid(low, high, bits), bits).sub_(w).div_(d).square_()  # [absent, columns, rows]
    without = errors.masked_fill_(absent, 0).sum(dim=1)
    low, high = w.aminmax(dim=0)
    whole = nearest(w, *grid(low, high, bits), bits).sub_(w).div_(d).square_().sum(dim=0)
    return whole - without > threshold


def group_grid(w: Tensor, d: Tensor, threshold: float, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Scales and zeros [rows] of a group w [columns, rows], as a reader has them."""
    left_out = likely_outliers(w, d, threshold, options.bits)
    left_out &= ~left_out.all(dim=0)
    low = w.masked_fill(left_out, torch.inf).amin(dim=0)
    high = w.masked_fill(left_out, -torch.inf).amax(dim=0)
    scale, zero = grid(low, high, options.bits)
    return (
        coded(scale, options.scale_bits, options.tile_rows).clamp_min_(1e-9),
        coded(zero, options.zero_bits, options.tile_rows),
    )


def spqr(weight: Tensor, h: Tensor, options: argparse.Namespace, columns: int = 128) -> tuple[Tensor, int]:
    """The weight [out, in] as it is read again, and how many outliers it has."""
    bits, group_size = options.bits, options.group_size
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    order = torch.argsort(h.diagonal(), descending=True)
    with timed("factors"):
        u = upper_factor(h[order][:, order], options.damping)
    with timed("sweep"):
        w = weight.masked_fill(dead, 0).T[order]
        d = u.diagonal()[:, None]
        threshold = options.threshold * (w.var(dim=1, keepdim=True) / d.square()).mean().item()
        chosen, outliers = torch.empty_like(w), torch.empty_like(w, dtype=torch.bool)
        for start in range(0, w.shape[0], columns):
            end = min(start + columns, w.shape[0])
            errors = torch.empty(end - start, w.shape[1])
            for i in range(start, end):
                if i % group_size == 0:
                    group = slice(i, i + group_size)
                    scale, zero = group_grid(w[group], d[group], threshold, options)
                value = nearest(w[i], scale, zero, bits)
                torch.gt(((w[i] - value) / d[i]).square_(), threshold, out=outliers[i])
                chosen[i] = torch.where(outliers[i], half(w[i]), value)
                error = errors[i - start] = (w[i] - chosen[i]) / d[i]
                w[i + 1 : end].addr_(u[i, i + 1 : end], error, alpha=-1)
            w[end:].addmm_(u[start:end, end:].T, errors, alpha=-1)
        return chosen[torch.argsort(order)].T.contiguous(), int(outliers.sum())


def relative_error(weight: Tensor, chosen: Tensor, h: Tensor) -> float:
    """|(W' - W) X|^2 / |W X|^2"""

    def energy(w: Tensor) -> float:
        return ((w @ h) * w).sum().item()

    return energy(chosen - weight) / energy(weight)


def stored_bits(rows: int, columns: int, outliers: int, options: argparse.Namespace) -> int:
    """Codes, scales and zeros, their f16 scales and zeros, outliers with columns and offsets of rows, and the order."""
    groups = rows * columns // options.group_size
    grids = groups * (options.scale_bits + options.zero_bits) + groups // options.tile_rows * 4 * 16
    return rows * columns * options.bits + grids + outliers * 32 + (rows + 1) * 32 + columns * 16


def main(options: argparse.Namespace) -> None:
    errors: list[float] = []
    counts = {"weights": 0, "outliers": 0, "bits": 0}

    def solve(weight: Tensor, h: Tensor) -> Tensor:
        with timed("measurement"):
            seen = h.clone()
        chosen, outliers = spqr(weight, h, options)
        with timed("measurement"):
            errors.append(relative_error(weight, chosen, seen))
        counts["weights"] += weight.numel()
        counts["outliers"] += outliers
        counts["bits"] += stored_bits(*weight.shape, outliers, options)
        return chosen

    result = compress(options, solve)
    own = {
        "bits": options.bits, "group_size": options.group_size, "threshold": options.threshold,
        "damping": options.damping, "relative_error": sum(errors) / len(errors),
        "outlier_share": counts["outliers"] / counts["weights"], "bits_per_weight": counts["bits"] / counts["weights"],
    }  # fmt: skip
    print(json.dumps(own | result, indent=2))


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--group-size", type=int, default=16, help="columns a scale; it divides 128 and the columns")
    parser.add_argument("--scale-bits", type=int, default=3)
    parser.add_argument("--zero-bits", type=int, default=3)
    parser.add_argument("--tile-rows", type=int, default=16, help="rows that share the scales of scales and zeros")
    parser.add_argument("--threshold", type=float, default=0.2, help="smaller keeps more outliers")
    parser.add_argument("--damping", type=float, default=1.0, help="share of the mean diagonal")
    main(parser.parse_args())
