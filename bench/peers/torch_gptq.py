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
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torch_llama import Block, TorchLlama, perplexity, read_windows

WHOLE_BLOCK = [["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]]
TRUE_SEQUENTIAL = [["k_proj", "v_proj", "q_proj"], ["o_proj"], ["up_proj", "gate_proj"], ["down_proj"]]

seconds: dict[str, float] = defaultdict(float)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[phase] += time.perf_counter() - started


class Statistics:
    """H = (2/n) sum of X^T X over n sequences, in f32, from the inputs of one linear."""

    def __init__(self, inputs: int) -> None:
        self.hessian, self.sequences = torch.zeros(inputs, inputs), 0

    def add(self, x: Tensor) -> None:
        batch = x.shape[0]
        self.hessian *= self.sequences / (self.sequences + batch)
        self.sequences += batch
        x = x.reshape(-1, x.shape[-1]) * (2 / self.sequences) ** 0.5
        self.hessian.addmm_(x.T, x)


def symmetric_scale(w: Tensor, bits: int) -> Tensor:
    """[rows, 1]: the grid reaches from -absmax to absmax."""
    largest = w.abs().amax(dim=1, keepdim=True)
    return torch.where(largest == 0, 1.0, largest) * (2 / (2**bits - 1))


def rounded(w: Tensor, scale: Tensor, bits: int) -> Tensor:
    zero = 2 ** (bits - 1)
    return scale * ((w / scale).round() + zero).clamp_(0, 2**bits - 1).sub_(zero)


def upper_factor(h: Tensor, damping: float) -> Tensor:
    """U, upper, with H^-1 = U^T U."""
    h = h.clone()
    h.diagonal().add_(damping * h.diagonal().mean())
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


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


def watch(linear: nn.Linear, statistics: Statistics) -> RemovableHandle:
    """Adds every input of the linear to its statistics until the handle is removed."""

    def hook(_: nn.Module, received: tuple[Tensor, ...]) -> None:
        with timed("statistics"):
            statistics.add(received[0])

    return linear.register_forward_pre_hook(hook)


def compress_block(block: Block, inputs: Tensor, cos: Tensor, sin: Tensor, options: argparse.Namespace) -> Tensor:
    """Quantises the block in place; returns what it makes of the inputs [sequences, tokens, width] afterwards."""
    for names in TRUE_SEQUENTIAL if options.true_sequential else WHOLE_BLOCK:
        linears: dict[str, nn.Linear] = {name: getattr(block, name) for name in names}
        statistics = {name: Statistics(linear.in_features) for name, linear in linears.items()}
        handles = [watch(linears[name], statistics[name]) for name in names]
        inside = seconds["statistics"]
        with timed("forwards"):
            for sequence in inputs:
                block(sequence[None], cos, sin)
        seconds["forwards"] -= seconds["statistics"] - inside
        for handle in handles:
            handle.remove()
        for name, linear in linears.items():
            linear.weight.data = gptq(linear.weight.data, statistics[name].hessian, options)
    with timed("forwards"):
        return torch.cat([block(sequence[None], cos, sin) for sequence in inputs])


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    calibration = read_windows(options.calibration)[: options.sequences]
    tokens = torch.tensor([window[: options.tokens] for window in calibration])
    with torch.inference_mode():
        model = TorchLlama(options.model)
        held_out = read_windows(options.evaluation) if options.evaluation else []
        before = perplexity(model, held_out) if held_out else None
        started = time.perf_counter()
        x = F.embedding(tokens, model.embedding)
        cos, sin = model.rotary(tokens.shape[1])
        for block in list(model.blocks)[: options.layers]:
            x = compress_block(block, x, cos, sin, options)
        total = time.perf_counter() - started
        after = perplexity(model, held_out) if held_out else None
    rest = seconds["statistics"] + seconds["factors"] + seconds["sweep"]
    result = {
        "torch": torch.__version__, "threads": options.threads, "bits": options.bits, "group_size": options.group_size,
        "static_groups": options.static_groups, "true_sequential": options.true_sequential,
        "sequences": tokens.shape[0], "tokens": tokens.shape[1],
        "total_s": total, "forwards_s": seconds["forwards"], "statistics_factors_sweep_s": rest,
        "phases_s": dict(seconds), "perplexity_before": before, "perplexity_after": after,
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file or Hugging Face folder")
    parser.add_argument("calibration", help="JSON file of token windows")
    parser.add_argument("--evaluation", help="JSON file of held-out token windows")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group-size", type=int, default=64, help="columns a scale; 0: one a row")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--static-groups", action="store_true", help="groups in file order, fitted before the sweep")
    parser.add_argument("--layers", type=int, help="only the first so many blocks")
    parser.add_argument(
        "--true-sequential", action="store_true", help="four groups of layers a block, one after another"
    )
    parser.add_argument("--threads", type=int, default=2)
    main(parser.parse_args())
