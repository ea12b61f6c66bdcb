"""The weights of a Hugging Face folder as float32, whichever way they are quantised.

config.json says which: `quantization_config` (or the older `compression_config`) with a `quant_method`; MLX writes
`quantization`, and the same once more as `quantization_config`, without a method.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import aqlm_reader
import awq_reader
import compressed_tensors_reader
import gptq_reader
import mlx_reader
import spqr_reader
from safetensors_reader import SafetensorsFolder

READERS = {
    "gptq": gptq_reader.read_all,
    "awq": awq_reader.read_all,
    "compressed-tensors": compressed_tensors_reader.read_all,
    "aqlm": aqlm_reader.read_all,
    "mlx": mlx_reader.read_all,
}
FLOATS = ("F64", "F32", "F16", "BF16")


def quantisation(stated: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Method and its settings; no method where the weights are dense."""
    config = stated.get("quantization_config") or stated.get("compression_config") or stated.get("quantization")
    if not config:
        return None, {}
    method = config.get("quant_method", config.get("method"))
    if method is None and "bits" in config and "group_size" in config:
        method = "mlx"
    if method not in READERS and method != "spqr":
        raise ValueError(f"quantisation method {method} is not {', '.join(READERS)} or spqr")
    return method, config


def linear_shape(stated: dict[str, Any], module: str) -> tuple[int, int]:
    """[out, in] of a linear of the llama family."""
    width, hidden, heads = stated["hidden_size"], stated["intermediate_size"], stated["num_attention_heads"]
    size = stated.get("head_dim") or width // heads
    queries, keys = heads * size, (stated.get("num_key_value_heads") or heads) * size
    shapes = {
        "q_proj": (queries, width), "k_proj": (keys, width), "v_proj": (keys, width), "o_proj": (width, queries),
        "gate_proj": (hidden, width), "up_proj": (hidden, width), "down_proj": (width, hidden),
        "lm_head": (stated["vocab_size"], width),
    }  # fmt: skip
    return shapes[module.rsplit(".", 1)[-1]]


def read_weights(folder: SafetensorsFolder, stated: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """All that ends in `.weight` or `.bias`, by name. No tensor may be left that is not a float: it would be codes."""
    method, config = quantisation(stated)
    if method == "spqr":
        modules = spqr_reader.read_all(folder, config, lambda module: linear_shape(stated, module))
    else:
        modules = READERS[method](folder, config) if method else {}
    weights = {f"{module}.weight": weight for module, weight in modules.items()}
    for name in folder.files:
        if name in weights:
            continue
        module, part = name.rsplit(".", 1)
        if folder.dtype(name) not in FLOATS and module not in modules:
            raise ValueError(f"{name} is {folder.dtype(name)}, which {method or 'no quantisation'} does not explain")
        if part in ("weight", "bias"):
            weights[name] = folder.as_float32(name)
    return weights
