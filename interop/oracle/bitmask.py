"""Sparse weights of compressed-tensors: the kept values in row order, and a bit for each place, lowest bit first.

Formats sparse-24-bitmask (two of every four columns are kept) and sparse-bitmask (any).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder


def decompress(values: NDArray[Any], bitmask: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[Any]:
    rows, columns = shape
    if bitmask.shape != (rows, -(-columns // 8)):
        raise ValueError(f"a bitmask {bitmask.shape} is not that of {rows} rows of {columns} columns")
    kept = np.unpackbits(bitmask, axis=1, count=columns, bitorder="little").astype(bool)
    if values.size != kept.sum():
        raise ValueError(f"{values.size} values for {kept.sum()} marks")
    dense = np.zeros(shape, dtype=values.dtype)
    dense[kept] = values.ravel()
    return dense


def read_sparse(folder: SafetensorsFolder, module: str) -> NDArray[np.float32]:
    """The values of a module; those of 2:4 are [out, in / 2], and those of any pattern a list with row offsets."""
    rows, columns = (int(size) for size in folder.read(f"{module}.shape").ravel())
    values, bitmask = folder.as_float32(f"{module}.compressed"), folder.read(f"{module}.bitmask")
    counts = np.unpackbits(bitmask, axis=1, count=columns, bitorder="little")
    if f"{module}.row_offsets" in folder:
        starts = np.concatenate([[0], counts.sum(axis=1, dtype=np.int64).cumsum()[:-1]])
        if not np.array_equal(folder.read(f"{module}.row_offsets"), starts):
            raise ValueError(f"{module}: the row offsets are not the sums of the marks")
    elif values.shape != (rows, columns // 2) or (counts.reshape(rows, -1, 4).sum(axis=2) != 2).any():
        raise ValueError(f"{module}: not two marks in every four columns, or values {values.shape}")
    return decompress(values, bitmask, (rows, columns))
