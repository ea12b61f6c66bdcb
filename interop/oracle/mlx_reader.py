"""Dequantises MLX folders, mode affine: 2, 3, 4, 5, 6 or 8 bits as one bit stream a row, W = scale * code + bias.

What is quantised shows by its `scales`, embeddings too. The settings of single modules stand by their path among the
general ones; false there leaves a module dense.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bit_stream import unpack
from safetensors_reader import SafetensorsFolder

Floats = NDArray[np.float32]


def dequantise(words: NDArray[Any], scales: Floats, biases: Floats, group_size: int, bits: int) -> Floats:
    """words uint32 [out, in * bits / 32], scales and biases [out, in / group_size]."""
    codes = unpack(words, bits, 1).astype(np.float32)
    if scales.shape != biases.shape or scales.shape != (len(codes), codes.shape[1] / group_size):
        raise ValueError(f"codes {codes.shape}, scales {scales.shape}, biases {biases.shape}, groups of {group_size}")
    return codes * np.repeat(scales, group_size, axis=1) + np.repeat(biases, group_size, axis=1)


def settings_of(config: dict[str, Any], module: str) -> tuple[int, int]:
    """Group size and bits."""
    own = config.get(module, {})
    if own is False:
        raise ValueError(f"{module} is quantised, but the configuration leaves it dense")
    settings = config if own is True else {**config, **own}
    mode = settings.get("mode", "affine")
    if mode != "affine" or settings["bits"] not in (2, 3, 4, 5, 6, 8):
        raise ValueError(f"{module}: mode {mode} with {settings['bits']} bits is not affine with 2, 3, 4, 5, 6 or 8")
    return settings["group_size"], settings["bits"]


def read_module(folder: SafetensorsFolder, module: str, config: dict[str, Any]) -> Floats:
    scales, biases = (folder.as_float32(f"{module}.{part}") for part in ("scales", "biases"))
    return dequantise(folder.read(f"{module}.weight"), scales, biases, *settings_of(config, module))


def read_all(folder: SafetensorsFolder, config: dict[str, Any]) -> dict[str, Floats]:
    """The weights of all quantised modules, by module."""
    return {module: read_module(folder, module, config) for module in folder.modules("scales")}
