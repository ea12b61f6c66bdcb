"""Forward pass of the llama family (llama, mistral, qwen2, smollm) in plain NumPy, for judging other programs.

Reads a GGUF file, or a Hugging Face folder with dense or quantised weights. Everything is spelled out: no fused
step, no cache, explicit attention scores. Layer names are Hugging Face's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkpoint_weights import read_weights
from gguf_reader import GgufFile
from safetensors_reader import SafetensorsFolder

Array = NDArray[Any]

LINEARS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


@dataclass(frozen=True)
class LlamaConfig:
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    frequencies: NDArray[np.float64] = field(repr=False)  # [head_size/2], radians a position, scaling included
    window: int | None = None  # tokens that a query sees, itself included; None for all before it


@dataclass(frozen=True)
class Llama:
    config: LlamaConfig
    weights: Mapping[str, Array]

    def logits(self, tokens: list[int]) -> Array:
        """[tokens, vocabulary], in the dtype of the weights."""
        w, config = self.weights, self.config
        dtype = w["model.embed_tokens.weight"].dtype
        cos, sin = rotary_tables(config, len(tokens), dtype)
        x = w["model.embed_tokens.weight"][np.asarray(tokens)]  # [tokens, width]
        for index in range(config.layers):
            layer = f"model.layers.{index}."
            h = rms_norm(x, w[layer + "input_layernorm.weight"], config.epsilon)
            x = x + self._attention(layer + "self_attn.", h, cos, sin)
            h = rms_norm(x, w[layer + "post_attention_layernorm.weight"], config.epsilon)
            gate, up = self._linear(layer + "mlp.gate_proj", h), self._linear(layer + "mlp.up_proj", h)
            x = x + self._linear(layer + "mlp.down_proj", silu(gate) * up)
        x = rms_norm(x, w["model.norm.weight"], config.epsilon)
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return x @ head.T

    def _linear(self, name: str, x: Array) -> Array:
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def _attention(self, layer: str, x: Array, cos: Array, sin: Array) -> Array:
        config, count = self.config, len(x)
        q = self._linear(layer + "q_proj", x).reshape(count, config.heads, config.head_size)
        k = self._linear(layer + "k_proj", x).reshape(count, config.kv_heads, config.head_size)
        v = self._linear(layer + "v_proj", x).reshape(count, config.kv_heads, config.head_size)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        repeats = config.heads // config.kv_heads
        k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
        q, k, v = (np.ascontiguousarray(t.transpose(1, 0, 2)) for t in (q, k, v))  # [heads, tokens, head_size]
        scores = q @ k.transpose(0, 2, 1) / q.dtype.type(np.sqrt(config.head_size))
        distance = np.arange(count)[:, None] - np.arange(count)[None, :]
        hidden = distance < 0
        if config.window is not None:
            hidden |= distance >= config.window
        scores = np.where(hidden, scores.dtype.type(-np.inf), scores)
        mixed = softmax(scores) @ v
        return self._linear(layer + "o_proj", mixed.transpose(1, 0, 2).reshape(count, -1))


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + x.dtype.type(epsilon)) * weight


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def rotary_tables(config: LlamaConfig, count: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    angles = np.arange(count, dtype=np.float64)[:, None] * config.frequencies  # [tokens, head_size/2]
    return np.cos(angles).astype(dtype)[:, None, :], np.sin(angles).astype(dtype)[:, None, :]


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotates the pairs (j, j + head_size/2) of x [tokens, heads, head_size]."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def base_frequencies(base: float, head_size: int) -> NDArray[np.float64]:
    return base ** (-np.arange(0, head_size, 2, dtype=np.float64) / head_size)


def llama3_divisors(frequencies: NDArray[np.float64], scaling: dict[str, Any]) -> NDArray[np.float64]:
    """What the frequencies are divided by: 1 for short waves, `factor` for long ones, a blend between."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return 1 / ((1 - blend) / factor + blend)


def load(path: str | Path, dtype: type[np.floating[Any]] = np.float32) -> Llama:
    """A GGUF file or a Hugging Face folder; weights become `dtype`."""
    model = from_folder(Path(path)) if Path(path).is_dir() else from_gguf(Path(path))
    return Llama(model.config, {name: w.astype(dtype, copy=False) for name, w in model.weights.items()})


def unpermute(rows: Array, heads: int) -> Array:
    """Undoes the row order of q and k in GGUF `llama` files: row 2j + p of a head is row p*size/2 + j."""
    paired = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)


def from_gguf(path: Path) -> Llama:
    file = GgufFile(path)
    arch = file.metadata["general.architecture"]
    if arch not in ("llama", "qwen2"):
        raise ValueError(f"{path}: architecture {arch} is not llama or qwen2")

    def meta(key: str, default: Any = None) -> Any:
        value = file.metadata.get(f"{arch}.{key}", default)
        if value is None:
            raise ValueError(f"{path}: key {arch}.{key} is missing")
        return value

    heads = meta("attention.head_count")
    head_size = meta("attention.key_length", meta("embedding_length") // heads)
    if meta("rope.dimension_count", head_size) != head_size:
        raise ValueError(f"{path}: rotary over a part of the head is not supported")
    frequencies = base_frequencies(meta("rope.freq_base", 10000.0), head_size)
    kind = meta("rope.scaling.type", "none")
    if kind == "linear":
        frequencies = frequencies / meta("rope.scaling.factor")
    elif kind != "none":
        raise ValueError(f"{path}: rope scaling {kind} is not none or linear")
    if "rope_freqs.weight" in file.tensors:
        frequencies = frequencies / file.read("rope_freqs.weight")
    config = LlamaConfig(
        layers=meta("block_count"),
        heads=heads,
        kv_heads=meta("attention.head_count_kv", heads),
        head_size=head_size,
        epsilon=meta("attention.layer_norm_rms_epsilon"),
        frequencies=frequencies,
    )
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    names["lm_head.weight"] = "output.weight"
    for index in range(config.layers):
        for ours, theirs in (LINEARS | NORMS).items():
            for part in ("weight", "bias"):
                names[f"model.layers.{index}.{ours}.{part}"] = f"blk.{index}.{theirs}.{part}"
    weights = {ours: file.read(theirs) for ours, theirs in names.items() if theirs in file.tensors}
    if arch == "llama":
        for name in weights:
            if ".q_proj." in name or ".k_proj." in name:
                count = config.heads if ".q_proj." in name else config.kv_heads
                weights[name] = unpermute(weights[name], count)
    return Llama(config, weights)


def from_folder(folder: Path) -> Llama:
    stated = json.loads((folder / "config.json").read_text())
    if stated["model_type"] not in ("llama", "mistral", "qwen2"):
        raise ValueError(f"{folder}: model type {stated['model_type']} is not llama, mistral or qwen2")
    heads = stated["num_attention_heads"]
    config = LlamaConfig(
        layers=stated["num_hidden_layers"],
        heads=heads,
        kv_heads=stated.get("num_key_value_heads") or heads,
        head_size=stated.get("head_dim") or stated["hidden_size"] // heads,
        epsilon=stated["rms_norm_eps"],
        frequencies=folder_frequencies(stated),
        window=folder_window(stated),
    )
    weights = read_weights(SafetensorsFolder(folder), stated)
    if stated.get("tie_word_embeddings", False):
        weights.pop("lm_head.weight", None)
    elif "lm_head.weight" not in weights:
        raise ValueError(f"{folder}: lm_head.weight is missing and tie_word_embeddings is false")
    return Llama(config, weights)


def folder_frequencies(stated: dict[str, Any]) -> NDArray[np.float64]:
    scaling = stated.get("rope_scaling") or stated.get("rope_parameters") or {}
    base = stated.get("rope_theta", scaling.get("rope_theta", 10000.0))
    head_size = stated.get("head_dim") or stated["hidden_size"] // stated["num_attention_heads"]
    frequencies = base_frequencies(base, head_size)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        return frequencies / scaling["factor"]
    if kind == "llama3":
        return frequencies / llama3_divisors(frequencies, scaling)
    if kind != "default":
        raise ValueError(f"rope scaling {kind} is not default, linear or llama3")
    return frequencies


def folder_window(stated: dict[str, Any]) -> int | None:
    """Mistral always slides where a window is stated, qwen2 only when asked to; llama never."""
    if stated["model_type"] == "mistral":
        return stated.get("sliding_window")
    if stated["model_type"] == "qwen2" and stated.get("use_sliding_window", False):
        raise ValueError("qwen2 with a sliding window is not supported")
    return None
