"""Forward pass of BERT encoders and what sentence-transformers makes of it, one text at a time, without padding."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safetensors_reader import SafetensorsFolder

Array = NDArray[Any]


def gelu(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_new(x: Array) -> Array:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


class Bert:
    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.stated = json.loads((folder / "config.json").read_text())
        tensors = SafetensorsFolder(folder)
        prefix = "bert." if any(name.startswith("bert.") for name in tensors.files) else ""
        self.weights = {
            name.removeprefix(prefix): tensors.as_float32(name).astype(np.float64)
            for name in tensors.files
            if name.startswith(prefix) and not name.endswith("position_ids")
        }
        self.activation = {"gelu": gelu, "gelu_new": gelu_new}[self.stated["hidden_act"]]
        modules = folder / "modules.json"
        kinds = [step["type"].split(".")[-1] for step in json.loads(modules.read_text())] if modules.exists() else []
        self.normalize = "Normalize" in kinds
        self.first = False
        if "Pooling" in kinds:
            self.first = json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode_cls_token"]

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.stated["layer_norm_eps"])
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, x: Array, layer: str) -> Array:
        heads = self.stated["num_attention_heads"]
        q, k, v = (
            self.linear(x, f"{layer}.attention.self.{part}").reshape(len(x), heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ v
        return mixed.swapaxes(0, 1).reshape(len(x), -1)

    def hidden(self, ids: list[int]) -> Array:
        """[tokens, hidden] after the last layer."""
        tables = {part: self.weights[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")}
        summed = tables["word"][ids] + tables["position"][: len(ids)] + tables["token_type"][0]
        x = self.norm(summed, "embeddings.LayerNorm")
        for index in range(self.stated["num_hidden_layers"]):
            layer = f"encoder.layer.{index}"
            mixed = self.linear(self.attention(x, layer), f"{layer}.attention.output.dense")
            x = self.norm(x + mixed, f"{layer}.attention.output.LayerNorm")
            wide = self.activation(self.linear(x, f"{layer}.intermediate.dense"))
            x = self.norm(x + self.linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def vector(self, ids: list[int]) -> Array:
        states = self.hidden(ids)
        pooled = states[0] if self.first else states.mean(0)
        return pooled / np.linalg.norm(pooled) if self.normalize else pooled
