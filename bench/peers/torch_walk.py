"""Compression of a llama block by block in plain PyTorch, with the time of each phase; the method is the caller's.

Frantar et al. 2022 (arXiv 2210.17323), the order of work of its repository: the inputs of every linear of a block are
gathered in one forward (or, with --true-sequential, in four, one after another), and a second one hands on what the
compressed block makes of them.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torch_llama import Block, TorchLlama, perplexity, read_windows

WHOLE_BLOCK = [["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]]
TRUE_SEQUENTIAL = [["k_proj", "v_proj", "q_proj"], ["o_proj"], ["up_proj", "gate_proj"], ["down_proj"]]

Solve = Callable[[Tensor, Tensor], Tensor]
"""The weight [out, in] and the matrix H [in, in] of its inputs, which it may change, to the new weight."""

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


def upper_factor(h: Tensor, damping: float) -> Tensor:
    """U, upper, with H^-1 = U^T U."""
    h = h.clone()
    h.diagonal().add_(damping * h.diagonal().mean())
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


def watch(linear: nn.Linear, statistics: Statistics) -> RemovableHandle:
    """Adds every input of the linear to its statistics until the handle is removed."""

    def hook(_: nn.Module, received: tuple[Tensor, ...]) -> None:
        with timed("statistics"):
            statistics.add(received[0])

    return linear.register_forward_pre_hook(hook)


def compress_block(
    block: Block, inputs: Tensor, cos: Tensor, sin: Tensor, solve: Solve, groups: list[list[str]]
) -> Tensor:
    """Changes the block in place; returns what it makes of the inputs [sequences, tokens, width] afterwards."""
    for names in groups:
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
            linear.weight.data = solve(linear.weight.data, statistics[name].hessian)
    with timed("forwards"):
        return torch.cat([block(sequence[None], cos, sin) for sequence in inputs])


def compress(options: argparse.Namespace, solve: Solve) -> dict[str, Any]:
    """Walks over the blocks; what `solve` spends in a phase `measurement` is in no total."""
    torch.set_num_threads(options.threads)
    calibration = read_windows(options.calibration)[: options.sequences]
    tokens = torch.tensor([window[: options.tokens] for window in calibration])
    groups = TRUE_SEQUENTIAL if options.true_sequential else WHOLE_BLOCK
    with torch.inference_mode():
        model = TorchLlama(options.model)
        blocks = list(model.blocks)[: options.layers]
        held_out = read_windows(options.evaluation) if options.evaluation else []
        before = perplexity(model, held_out) if held_out else None
        started = time.perf_counter()
        x = F.embedding(tokens, model.embedding)
        cos, sin = model.rotary(tokens.shape[1])
        for block in blocks:
            x = compress_block(block, x, cos, sin, solve, groups)
        total = time.perf_counter() - started - seconds["measurement"]
        after = perplexity(model, held_out) if held_out else None
    return {
        "torch": torch.__version__, "threads": options.threads, "layers": len(blocks),
        "true_sequential": options.true_sequential, "sequences": tokens.shape[0], "tokens": tokens.shape[1],
        "total_s": total, "forwards_s": seconds["forwards"],
        "statistics_factors_sweep_s": seconds["statistics"] + seconds["factors"] + seconds["sweep"],
        "phases_s": dict(seconds), "perplexity_before": before, "perplexity_after": after,
    }  # fmt: skip


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Those that every method has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file or Hugging Face folder")
    parser.add_argument("calibration", help="JSON file of token windows")
    parser.add_argument("--evaluation", help="JSON file of held-out token windows")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--layers", type=int, help="only the first so many blocks")
    parser.add_argument(
        "--true-sequential", action="store_true", help="four groups of layers a block, one after another"
    )
    parser.add_argument("--threads", type=int, default=2)
    return parser
