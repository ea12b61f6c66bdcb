"""Dequantises AQLM checkpoints: each group of weights is a scaled sum of one vector of every codebook.

W[o*og + a, i*ig + c] = scales[o] * sum over m of codebooks[m, codes[o, i, m], a, c]; codes are two's complement of
`nbits_per_codebook` bits in int8 or int16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder


def dequantise(codes: NDArray[Any], codebooks: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """codes [out / og, in / ig, M], codebooks [M, 2^B, og, ig], scales [out / og, 1, 1, 1].

    A model that was saved after a forward pass on a CPU may hold codes [in / ig, out / og, M]. Where both fit, they are
    not taken to be turned.
    """
    count, size, out_group, in_group = codebooks.shape
    outputs = scales.shape[0]
    if codes.shape[0] != outputs:
        codes = codes.swapaxes(0, 1)
    if codes.shape[0] != outputs or codes.shape[2] != count or scales.size != outputs:
        raise ValueError(f"codes {codes.shape}, codebooks {codebooks.shape}, scales {scales.shape} do not fit")
    index = codes.astype(np.int64) % size
    total = np.zeros((*codes.shape[:2], out_group, in_group), dtype=np.float32)
    for m in range(count):
        total += codebooks[m][index[:, :, m]]
    scaled = total * scales.reshape(-1, 1, 1, 1)
    return np.ascontiguousarray(scaled.swapaxes(1, 2).reshape(outputs * out_group, -1))


def read_all(folder: SafetensorsFolder, config: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights of all quantised modules, by module."""
    shape = (config.get("num_codebooks", 1), 2 ** config.get("nbits_per_codebook", 16))
    shape += (config.get("out_group_size", 1), config.get("in_group_size", 8))
    left, weights = config.get("linear_weights_not_to_quantize") or [], {}
    for module in folder.modules("codes"):
        books = folder.as_float32(f"{module}.codebooks")
        if books.shape != shape or f"{module}.weight" in left:
            raise ValueError(f"{module}: codebooks {books.shape}, but {shape} are configured, or none for this module")
        weights[module] = dequantise(folder.read(f"{module}.codes"), books, folder.as_float32(f"{module}.scales"))
    return weights
