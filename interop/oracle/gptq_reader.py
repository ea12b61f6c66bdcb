"""Dequantises GPTQ checkpoints: bits 2, 3, 4 or 8, layout version 1 or 2, with or without act-order.

GPTQModel's `dynamic` changes settings of single modules: {regular expression: settings}. The first expression that
matches a module's name from its start decides; with `-:` before it the module is left dense, `+:` says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bit_stream import unpack
from safetensors_reader import SafetensorsFolder


@dataclass(frozen=True)
class GptqConfig:
    bits: int
    version: int  # 1: zeros stored minus one; 2: as they are
    group_size: int = -1  # used where there is no g_idx; -1 is one group
    dynamic: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits not in (2, 3, 4, 8):
            raise ValueError(f"{self.bits} bits are not 2, 3, 4 or 8")

    @staticmethod
    def parse(config: dict[str, Any]) -> GptqConfig:
        method = config.get("quant_method", config.get("method"))
        if method != "gptq":
            raise ValueError(f"quantisation method {method} is not gptq")
        layout = config.get("checkpoint_format", config.get("format", "gptq"))
        if layout not in ("gptq", "gptq_v2"):
            raise ValueError(f"checkpoint format {layout} is not gptq or gptq_v2")
        version = 2 if layout == "gptq_v2" else 1
        return GptqConfig(config["bits"], version, config.get("group_size", -1), config.get("dynamic") or {})

    def of(self, module: str) -> GptqConfig | None:
        """The settings of a module; None where it is left dense."""
        for rule, settings in self.dynamic.items():
            if re.match(rule.removeprefix("-:").removeprefix("+:"), module):
                if rule.startswith("-:"):
                    return None
                bits = settings.get("bits", self.bits)
                return replace(self, bits=bits, group_size=settings.get("group_size", self.group_size))
        return self


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
    qweight = folder.read(f"{name}.qweight")
    inputs = len(qweight) * 32 // config.bits
    if f"{name}.g_idx" in folder:
        g_idx = folder.read(f"{name}.g_idx").astype(np.int64)
    else:
        g_idx = np.arange(inputs) // (inputs if config.group_size == -1 else config.group_size)
    zeros, scales = folder.read(f"{name}.qzeros"), folder.as_float32(f"{name}.scales")
    return dequantise(qweight, zeros, scales, g_idx, config)


def read_all(folder: SafetensorsFolder, stated: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights of all quantised modules, by module."""
    config, weights = GptqConfig.parse(stated), {}
    for module in folder.modules("qweight"):
        own = config.of(module)
        if own is None:
            raise ValueError(f"{module} is quantised, but `dynamic` leaves it dense")
        weights[module] = read_linear(folder, module, own)
    return weights
