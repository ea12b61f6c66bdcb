"""Dequantises GPTQ checkpoints: bits 2, 3, 4 or 8, layout version 1 or 2, with or without act-order.

All words are unpacked as one little-endian bit stream along the packed axis. For 2, 4 and 8 bits that is
the same as packing 32/bits codes a word; for 3 bits it is the definition (32 codes in three words).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder


@dataclass(frozen=True)
class GptqConfig:
    bits: int
    version: int  # 1: zeros stored minus one; 2: as they are

    @staticmethod
    def parse(config: dict[str, Any]) -> GptqConfig:
        method = config.get("quant_method", config.get("method"))
        if method != "gptq":
            raise ValueError(f"quantisation method {method} is not gptq")
        layout = config.get("checkpoint_format", config.get("format", "gptq"))
        if layout not in ("gptq", "gptq_v2"):
            raise ValueError(f"checkpoint format {layout} is not gptq or gptq_v2")
        if config["bits"] not in (2, 3, 4, 8):
            raise ValueError(f"{config['bits']} bits are not 2, 3, 4 or 8")
        return GptqConfig(config["bits"], 2 if layout == "gptq_v2" else 1)


def unpack(words: NDArray[Any], bits: int, axis: int) -> NDArray[np.int32]:
    """int32 words along an axis to codes 0..2^bits-1 along the same axis."""
    moved = np.ascontiguousarray(np.moveaxis(words, axis, -1)).astype("<i4")
    if moved.shape[-1] * 32 % bits:
        raise ValueError(f"{moved.shape[-1]} words do not hold whole {bits}-bit codes")
    stream = np.unpackbits(moved.view(np.uint8), axis=-1, bitorder="little")
    fields = stream.reshape(*moved.shape[:-1], -1, bits).astype(np.int32)
    codes = (fields << np.arange(bits, dtype=np.int32)).sum(axis=-1, dtype=np.int32)
    return np.moveaxis(codes, -1, axis)


def dequantise(
    qweight: NDArray[Any],
    qzeros: NDArray[Any],
    scales: NDArray[np.float32],
    g_idx: NDArray[Any],
    config: GptqConfig,
) -> NDArray[np.float32]:
    """Returns W [out, in] = scale * (code - zero), each input taking the group that g_idx names."""
    codes = unpack(qweight, config.bits, 0)  # [in, out]
    zeros = unpack(qzeros, config.bits, 1)[:, : codes.shape[1]]  # [groups, out]
    if config.version == 1:
        zeros = (zeros + 1) & (2**config.bits - 1)
    if codes.shape != (len(g_idx), scales.shape[1]) or zeros.shape != scales.shape:
        raise ValueError(f"codes {codes.shape}, zeros {zeros.shape}, scales {scales.shape} do not fit")
    if g_idx.min() < 0 or g_idx.max() >= len(scales):
        raise ValueError(f"g_idx names group {g_idx.min()} or {g_idx.max()} of {len(scales)}")
    return np.ascontiguousarray((scales[g_idx] * (codes - zeros[g_idx])).astype(np.float32).T)


def read_linear(folder: SafetensorsFolder, name: str, config: GptqConfig) -> NDArray[np.float32]:
    """The dense weight of the quantised linear `name` (without `.weight`)."""
    return dequantise(
        folder.read(f"{name}.qweight"),
        folder.read(f"{name}.qzeros"),
        folder.as_float32(f"{name}.scales"),
        folder.read(f"{name}.g_idx").astype(np.int64),
        config,
    )
