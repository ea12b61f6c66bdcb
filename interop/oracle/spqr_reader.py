"""Dequantises SpQR checkpoints as the library does: 3 bits in tiles of 16 x 16, float16 arithmetic, outliers added.

A tile has 16 words of 64 bits, one a row: the row's scale and zero in 3 bits each, 16 codes of 3 bits, and from bit 54
on a byte of the tile's second order. That is four float16 (scale of the scales, scale of the zeros, zero of the scales,
zero of the zeros), whose byte f stands in rows 2f and 2f + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder

Halves = NDArray[np.float16]


def dense_part(words: NDArray[Any], shape: tuple[int, int]) -> Halves:
    """[out, in]; every operation is rounded to float16."""
    down, across = shape[0] // 16, shape[1] // 16
    if shape[0] % 16 or shape[1] % 16 or words.size != down * across * 16:
        raise ValueError(f"{words.size} words are not those of {shape} weights in tiles of 16 x 16")
    tiles = np.ascontiguousarray(words).view(np.uint64).reshape(down, across, 16)
    second = (tiles >> np.uint64(54)).astype(np.uint8)  # [down, across, 16]; bits 62 and 63 are zero
    if (second[..., 0::2] != second[..., 1::2]).any() or (tiles >> np.uint64(62)).any():
        raise ValueError("the two copies of a second-order byte differ, or the top two bits of a word are set")
    order = np.ascontiguousarray(second[..., 0::2]).view("<f2")[..., None, :]  # [down, across, 1, 4]
    fields = (tiles[..., None] >> (3 * np.arange(18, dtype=np.uint64)) & np.uint64(7)).astype(np.float16)
    scale = order[..., 0] * (fields[..., 0] - order[..., 2])
    zero = order[..., 1] * (fields[..., 1] - order[..., 3])
    values = scale[..., None] * (fields[..., 2:] - zero[..., None])  # [down, across, row, column]
    return values.swapaxes(1, 2).reshape(shape)


def outlier_rows(offsets: NDArray[Any], count: int, rows: int) -> NDArray[np.int64]:
    """The row of each outlier. CSR has an offset for each row; PTCSR for 16 rows, whose entries take turns."""
    entry = np.arange(count)
    if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
        raise ValueError(f"row offsets do not rise from 0 to {count}")
    place = np.searchsorted(offsets, entry, side="right") - 1
    if len(offsets) == rows + 1:
        return place
    if len(offsets) == rows // 16 + 1 and not (offsets % 16).any():
        return 16 * place + entry % 16
    raise ValueError(f"{len(offsets)} row offsets are not {rows + 1} or {rows // 16 + 1}")


def dequantise(
    words: NDArray[Any], offsets: NDArray[Any], outliers: NDArray[Any], in_perm: NDArray[Any], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """An outlier is a column in the low half of a word and a float16 in the high half; in_perm two columns a word."""
    sums = dense_part(words, shape).astype(np.float32)
    halves = np.ascontiguousarray(outliers).astype("<i4").view("<u2").reshape(-1, 2)
    columns, values = halves[:, 0], np.ascontiguousarray(halves[:, 1]).view("<f2")
    if columns.size and columns.max() >= shape[1]:
        raise ValueError(f"an outlier in column {columns.max()} of {shape[1]}")
    np.add.at(sums, (outlier_rows(offsets, len(outliers), shape[0]), columns), values.astype(np.float32))
    found = sums.astype(np.float16).astype(np.float32)
    if not in_perm.size:
        return found
    order = np.ascontiguousarray(in_perm).astype("<i4").view("<u2")
    if not np.array_equal(np.sort(order), np.arange(shape[1])):
        raise ValueError("in_perm is not an order of the inputs")
    natural = np.empty_like(found)
    natural[:, order] = found
    return natural


def read_all(
    folder: SafetensorsFolder, config: dict[str, Any], shape_of: Callable[[str], tuple[int, int]]
) -> dict[str, NDArray[np.float32]]:
    """The weights of all quantised modules, by module. Their shapes stand in no tensor."""
    settings = (config["bits"], config["beta1"], config["beta2"])
    if settings != (3, 16, 16):
        raise ValueError(f"bits, beta1 and beta2 are {settings}, not (3, 16, 16)")
    weights = {}
    for module in folder.modules("dense_weights"):
        parts = ["dense_weights", "row_offsets", "col_vals", "in_perm"]
        tensors = [
            folder.read(f"{module}.{part}") if f"{module}.{part}" in folder else np.zeros(0, "<i4") for part in parts
        ]
        for part, tensor in zip(parts, tensors):
            if config["shapes"].get(f"{module}.{part}.shape") != tensor.size:
                raise ValueError(f"{module}.{part} has {tensor.size} elements, not as configured")
        weights[module] = dequantise(tensors[0], tensors[1], tensors[2], tensors[3], shape_of(module))
    return weights
