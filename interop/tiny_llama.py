"""What all tiny checkpoints of the llama family share: configurations, shapes, random weights, expected logits.

Weights come from a counter: element i of the tensor named n is u * sqrt(3 / inputs), where u in [-1, 1) is
(top 24 bits of splitmix64(fnv1a64("MODEL/n") + i)) / 2^23 - 1. Norms are 1 + u/4, biases u/2.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counter import uniform, words
from llama_forward import NORMS, load
from safetensors_reader import bf16_words

Array = NDArray[Any]
Tensors = dict[str, tuple[str, Array]]  # safetensors dtype and elements by name

VOCABULARY, WIDTH, HIDDEN, CONTEXT = 32, 32, 32, 16
DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def config(model_type: str, layers: int, heads: int, kv_heads: int, **rest: Any) -> dict[str, Any]:
    names = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    return {
        "architectures": [names[model_type]], "model_type": model_type, "vocab_size": VOCABULARY,
        "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_act": "silu",
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
    } | rest  # fmt: skip


def shapes(stated: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, hidden = stated["hidden_size"], stated["intermediate_size"]
    size = stated.get("head_dim") or width // stated["num_attention_heads"]
    q, kv = stated["num_attention_heads"] * size, stated["num_key_value_heads"] * size
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, width)}
    for index in range(stated["num_hidden_layers"]):
        linears = {
            "self_attn.q_proj": (q, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
            "self_attn.o_proj": (width, q), "mlp.gate_proj": (hidden, width), "mlp.up_proj": (hidden, width),
            "mlp.down_proj": (width, hidden),
        }  # fmt: skip
        for name, shape in linears.items():
            found[f"model.layers.{index}.{name}.weight"] = shape
            if stated["model_type"] == "qwen2" and name[-6] in "qkv" and name.startswith("self_attn"):
                found[f"model.layers.{index}.{name}.bias"] = shape[:1]
        for name in NORMS:
            found[f"model.layers.{index}.{name}.weight"] = (width,)
    found["model.norm.weight"] = (width,)
    if not stated["tie_word_embeddings"]:
        found["lm_head.weight"] = (VOCABULARY, width)
    return found


def weight(model: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    u = uniform(f"{model}/{name}", shape)
    if "norm" in name:
        return 1 + u / 4
    if name.endswith(".bias"):
        return u / 2
    # Embeddings enter unscaled by inputs: their rows are the inputs.
    return u if "embed_tokens" in name else u * math.sqrt(3 / shape[1])


def stored(values: Array, dtype: str) -> tuple[str, Array]:
    """Values as safetensors holds them."""
    return dtype, bf16_words(values) if dtype == "BF16" else values


def expected(path: Path, model: str) -> str:
    tokens = (words(f"{model}/tokens", CONTEXT) % np.uint64(VOCABULARY)).tolist()
    logits = load(path, np.float64).logits(tokens).astype("<f4")
    text = base64.b64encode(logits.tobytes()).decode()
    return json.dumps({"tokens": tokens, "vocabulary": VOCABULARY, "logits": text}) + "\n"
