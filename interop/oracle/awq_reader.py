"""Dequantises AWQ checkpoints in the layout `gemm`, 4 bits: W = scale * (code - zero), zeros as they are.

Eight neighbouring outputs share a word; the nibbles of a word, lowest first, are outputs 0, 2, 4, 6, 1, 3, 5, 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder

ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])


def unpack_nibbles(words: NDArray[Any]) -> NDArray[np.int32]:
    """[rows, out / 8] words to [rows, out] codes."""
    shifts = np.arange(8, dtype=np.uint32) * 4
    codes = np.empty((*words.shape, 8), dtype=np.int32)
    codes[..., ORDER] = words.astype("<i4").view(np.uint32)[..., None] >> shifts & 15
    return codes.reshape(len(words), -1)


def dequantise(
    qweight: NDArray[Any], qzeros: NDArray[Any], scales: NDArray[np.float32], group_size: int
) -> NDArray[np.float32]:
    """qweight [in, out / 8], qzeros [groups, out / 8], scales [groups, out]; returns W [out, in]."""
    codes, zeros = unpack_nibbles(qweight), unpack_nibbles(qzeros)
    group = np.arange(len(codes)) // (len(codes) if group_size == -1 else group_size)
    if zeros.shape != scales.shape or codes.shape[1] != scales.shape[1] or len(scales) != group[-1] + 1:
        raise ValueError(f"codes {codes.shape}, zeros {zeros.shape}, scales {scales.shape} do not fit")
    return np.ascontiguousarray((scales[group] * (codes - zeros[group]).astype(np.float32)).T)


def read_all(folder: SafetensorsFolder, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights of all quantised modules, by module."""
    version, bits = config.get("version", "gemm").lower(), config["bits"]
    if version != "gemm" or bits != 4:
        raise ValueError(f"awq version {version} with {bits} bits is not gemm with 4 bits")
    left, weights = config.get("modules_to_not_convert") or [], {}
    for module in folder.modules("qweight"):
        if any(part in module for part in left):
            raise ValueError(f"{module} is quantised, but modules_to_not_convert names it")
        zeros, scales = folder.read(f"{module}.qzeros"), folder.as_float32(f"{module}.scales")
        weights[module] = dequantise(folder.read(f"{module}.qweight"), zeros, scales, config["group_size"])
    return weights
