"""Dequantises checkpoints of compressed-tensors: pack-quantized, int-quantized and float-quantized weights, and sparse
ones of either kind or dense (bitmask.py). W = scale * (code - zero point), in the layout of a Hugging Face linear.

Codes are signed; packed ones are stored plus 2^(bits-1). Which settings a module has stands in config_groups: of its
targets the name itself comes before a regular expression, and both before a class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bit_stream import stream_words, unpack, unpack_by_word, whole_words
from bitmask import read_sparse
from safetensors_reader import SafetensorsFolder

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scheme:
    bits: int
    symmetric: bool
    strategy: str
    group_size: int | None
    block: tuple[int, int] | None

    @staticmethod
    def parse(weights: dict[str, Any]) -> Scheme:
        strategy = weights.get("strategy")
        if strategy is None:  # as the library fills it in
            size = weights.get("group_size")
            strategy = "tensor" if size is None else "channel" if size == -1 else "group"
        if strategy not in ("tensor", "channel", "group", "block"):
            raise ValueError(f"strategy {strategy} is not tensor, channel, group or block")
        block = weights.get("block_structure")
        symmetric, size = weights.get("symmetric", True), weights.get("group_size")
        return Scheme(weights["num_bits"], symmetric, strategy, size, tuple(block) if block else None)


def matches(target: str, module: str) -> int:
    """How well a target names a module: 0 not at all, 3 best."""
    if target.startswith("re:"):
        return 2 if re.match(target[3:], module) else 0
    if target == module:
        return 3
    return 1 if target == ("Embedding" if module.endswith("embed_tokens") else "Linear") else 0


def scheme_of(config: dict[str, Any], module: str) -> Scheme | None:
    """None where no group names the module, or `ignore` does."""
    if any(matches(target, module) for target in config.get("ignore") or []):
        return None
    groups = (config.get("config_groups") or {}).values()
    ranked = [(matches(target, module), group) for group in groups for target in group["targets"]]
    rank, group = max(ranked, key=lambda each: each[0], default=(0, None))
    return Scheme.parse(group["weights"]) if rank else None


def by_stream(words: int, count: int, bits: int, version: str) -> bool:
    """Whether codes run on over words (from 0.18) or start anew in each. The widths tell, or else the version."""
    stream, whole = stream_words(count, bits), whole_words(count, bits)
    if words not in (stream, whole):
        raise ValueError(f"{words} words are not those of {count} {bits}-bit codes")
    if stream != whole:
        return words == stream
    if 32 % bits == 0 or count <= 32 // bits:
        return True  # both are the same
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise ValueError(
            f"{count} {bits}-bit codes take {words} words either way, and version {version!r} says nothing"
        )
    return (int(numbers[1]), int(numbers[2])) >= (0, 18)


def spread(values: Floats, shape: tuple[int, int], scheme: Scheme, g_idx: NDArray[Any] | None) -> Floats:
    """Scales or zero points to one for each weight, or what broadcasts to it."""
    rows, columns = shape
    if scheme.strategy == "tensor" and values.size == 1:
        return values.reshape(1, 1)
    if scheme.strategy == "channel" and values.shape == (rows, 1):
        return values
    if scheme.strategy == "block" and scheme.block is not None:
        down, across = np.arange(rows) // scheme.block[0], np.arange(columns) // scheme.block[1]
        if values.shape == (down[-1] + 1, across[-1] + 1):
            return values[down][:, across]
    if scheme.strategy == "group" and scheme.group_size is not None:
        # -1 marks an order that was never set.
        order = np.arange(columns) // scheme.group_size if g_idx is None or -1 in g_idx else g_idx
        if values.shape[0] == rows and len(order) == columns and order.max() < values.shape[1] and order.min() >= 0:
            return values[:, order]
    raise ValueError(f"{values.shape} values do not fit {shape} weights with {scheme}")


def read_packed(folder: SafetensorsFolder, module: str, bits: int, version: str) -> tuple[Floats, bool]:
    """Signed codes [out, in], and whether they are one stream."""
    rows, columns = (int(size) for size in folder.read(f"{module}.weight_shape").ravel())
    words = folder.read(f"{module}.weight_packed")
    if words.shape[0] != rows:
        raise ValueError(f"{module}: {words.shape[0]} packed rows, not {rows}")
    stream = by_stream(words.shape[1], columns, bits, version)
    codes = (unpack if stream else unpack_by_word)(words, bits, 1, columns)
    return (codes - 2 ** (bits - 1)).astype(np.float32), stream


def read_zeros(folder: SafetensorsFolder, module: str, bits: int, rows: int, stream: bool) -> Floats:
    """Signed zero points: int32 are packed along the outputs, as the weight is; all else is one a group."""
    name = f"{module}.weight_zero_point"
    if folder.dtype(name) != "I32" or f"{module}.weight_packed" not in folder:
        return folder.as_float32(name)
    codes = (unpack if stream else unpack_by_word)(folder.read(name), bits, 0, rows)
    return (codes - 2 ** (bits - 1)).astype(np.float32)


def read_module(folder: SafetensorsFolder, module: str, config: dict[str, Any]) -> Floats:
    scheme, stream = scheme_of(config, module), True
    if f"{module}.weight_scale" not in folder:
        return read_sparse(folder, module)
    if scheme is None:
        raise ValueError(f"{module} is quantised, but no group of the configuration names it")
    if f"{module}.weight_packed" in folder:
        codes, stream = read_packed(folder, module, scheme.bits, config.get("version", ""))
    elif f"{module}.compressed" in folder:
        codes = read_sparse(folder, module)
    else:
        codes = folder.as_float32(f"{module}.weight")
    g_idx = folder.read(f"{module}.weight_g_idx") if f"{module}.weight_g_idx" in folder else None
    if f"{module}.weight_zero_point" in folder:
        zeros = read_zeros(folder, module, scheme.bits, len(codes), stream)
        codes = codes - spread(zeros, codes.shape, scheme, g_idx)
    elif not scheme.symmetric:
        raise ValueError(f"{module} has no zero points, but is not symmetric")
    return codes * spread(folder.as_float32(f"{module}.weight_scale"), codes.shape, scheme, g_idx)


def read_all(folder: SafetensorsFolder, config: dict[str, Any]) -> dict[str, Floats]:
    """The weights of all quantised and all sparse modules, by module."""
    modules = {*folder.modules("weight_scale"), *folder.modules("compressed")}
    return {module: read_module(folder, module, config) for module in sorted(modules)}
