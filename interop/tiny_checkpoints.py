"""Writes tiny random checkpoints, with what the oracle computes for them: logits of the llama family, and hidden states and
vectors of BERT encoders (tiny_bert.py).

    tiny_checkpoints.py FOLDER           writes them
    tiny_checkpoints.py --check FOLDER   writes them elsewhere and compares: exit 1 when a file differs

Each Hugging Face folder holds config.json, safetensors and expected.json; each GGUF file NAME.gguf has its own
NAME.expected.json: {"tokens": [...], "vocabulary": V, "logits": base64 of little-endian float32 [tokens, V]},
computed in float64. The logits of different machines may differ in the last bit; all other bytes are fixed.

Weights come from a counter: element i of the tensor named n is u * sqrt(3 / inputs), where u in [-1, 1) is
(top 24 bits of splitmix64(fnv1a64("MODEL/n") + i)) / 2^23 - 1. Norms are 1 + u/4, biases u/2.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent / "oracle"))

from counter import uniform, words  # noqa: E402
from gguf_writer import write_gguf  # noqa: E402
from gptq_reader import unpack  # noqa: E402
from llama_forward import LINEARS, NORMS, base_frequencies, llama3_divisors, load  # noqa: E402
from safetensors_reader import bf16_words, write_safetensors  # noqa: E402
from tiny_bert import write_bert_folders  # noqa: E402

Array = NDArray[Any]

VOCABULARY, WIDTH, HIDDEN, CONTEXT = 32, 32, 32, 16
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
LINEAR = {"rope_type": "linear", "factor": 4.0}


def config(model_type: str, layers: int, heads: int, kv_heads: int, **rest: Any) -> dict[str, Any]:
    names = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    return {
        "architectures": [names[model_type]], "model_type": model_type, "vocab_size": VOCABULARY,
        "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "hidden_act": "silu",
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
    } | rest  # fmt: skip


CONFIGS: dict[str, dict[str, Any]] = {
    "llama-tied": config("llama", 2, heads=4, kv_heads=2),
    "llama-untied": config("llama", 1, heads=2, kv_heads=2, tie_word_embeddings=False),
    "llama-head-size": config("llama", 1, heads=2, kv_heads=1, head_dim=16, hidden_size=24),
    "llama-rope-llama3": config("llama", 1, heads=2, kv_heads=1, rope_theta=500.0, rope_scaling=LLAMA3),
    "llama-rope-linear": config("llama", 1, heads=2, kv_heads=1, rope_scaling=LINEAR, torch_dtype="float32"),
    "mistral": config("mistral", 1, heads=4, kv_heads=2, sliding_window=8, torch_dtype="float16"),
    "qwen2": config("qwen2", 1, heads=4, kv_heads=2, rms_norm_eps=1e-6, use_sliding_window=False),
    "smollm": config("llama", 2, heads=3, kv_heads=1, hidden_size=24, rope_theta=100000.0),
    "llama-gptq-4": config("llama", 1, heads=4, kv_heads=2),
    "llama-gptq-3": config("llama", 1, heads=4, kv_heads=4),
}
SHARDS = {"llama-untied": 2}
# bits, group size, act-order, layout version, symmetric
GPTQ = {"llama-gptq-4": (4, 16, True, 1, False), "llama-gptq-3": (3, 32, False, 2, True)}
# File name, the model whose weights it holds, and the type of its matrices.
GGUFS = [
    ("llama-f16", "llama-tied", "F16"),
    ("llama-f32", "llama-head-size", "F32"),
    ("llama-rope-freqs-f16", "llama-rope-llama3", "F16"),
    ("llama-rope-linear-f16", "llama-rope-linear", "F16"),
    ("qwen2-f16", "qwen2", "F16"),
]

# llama.cpp opens no file without a tokenizer: 3 control tokens, newline, blank, a..y, and two merges.
TOKENIZER: list[tuple[str, str, Any]] = [
    ("tokenizer.ggml.model", "string", "gpt2"), ("tokenizer.ggml.pre", "string", "smollm"),
    ("tokenizer.ggml.tokens", "string[]", ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ċ", "Ġ"]
     + [chr(letter) for letter in range(ord("a"), ord("z"))] + ["th", "the"]),
    ("tokenizer.ggml.token_type", "i32[]", [3] * 3 + [1] * 29),
    ("tokenizer.ggml.merges", "string[]", ["t h", "th e"]),
    ("tokenizer.ggml.bos_token_id", "u32", 1), ("tokenizer.ggml.eos_token_id", "u32", 2),
    ("tokenizer.ggml.add_bos_token", "bool", False),
]  # fmt: skip


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


def packed(codes: Array, bits: int, axis: int) -> Array:
    """Codes to int32 words, as one little-endian bit stream along the axis."""
    moved = np.moveaxis(codes, axis, -1).astype(np.uint8)
    stream = np.unpackbits(moved[..., None], axis=-1, bitorder="little")[..., :bits]
    stored = np.packbits(stream.reshape(*moved.shape[:-1], -1), axis=-1, bitorder="little")
    whole = np.ascontiguousarray(np.moveaxis(stored.view("<i4"), -1, axis))
    assert (unpack(whole, bits, axis) == codes).all()
    return whole


def gptq_tensors(model: str, name: str, shape: tuple[int, ...]) -> dict[str, tuple[str, Array]]:
    """A random GPTQ linear: codes, zeros, scales and the order of the inputs come from the counter."""
    bits, group, act_order, version, symmetric = GPTQ[model]
    outputs, inputs = shape
    groups, top = inputs // group, np.uint64(2**bits)
    codes = (words(f"{model}/{name}.codes", inputs * outputs) % top).reshape(inputs, outputs)
    zeros = np.full((groups, outputs), 2 ** (bits - 1), dtype=np.uint64)
    if not symmetric:  # 1..2^bits - 1: version 1 cannot hold 0
        zeros = words(f"{model}/{name}.zeros", groups * outputs).reshape(groups, outputs) % (top - np.uint64(1))
        zeros = zeros + np.uint64(1)
    order = np.argsort(words(f"{model}/{name}.order", inputs)) if act_order else np.arange(inputs)
    g_idx = np.empty(inputs, dtype=np.int32)
    g_idx[order] = np.arange(inputs) // group
    scales = (1.5 + uniform(f"{model}/{name}.scales", (groups, outputs))) / 2**bits * math.sqrt(3 / inputs)
    return {
        f"{name}.qweight": ("I32", packed(codes, bits, 0)),
        f"{name}.qzeros": ("I32", packed(zeros - np.uint64(2 - version), bits, 1)),
        f"{name}.scales": ("F16", scales.astype(np.float16)),
        f"{name}.g_idx": ("I32", g_idx),
    }


def stored_tensors(model: str, stated: dict[str, Any]) -> dict[str, tuple[str, Array]]:
    dtype = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[stated["torch_dtype"]]
    tensors: dict[str, tuple[str, Array]] = {}
    for name, shape in shapes(stated).items():
        linear = name.removesuffix(".weight")
        if model in GPTQ and linear.split(".", 3)[-1] in LINEARS:
            tensors |= gptq_tensors(model, linear, shape)
            continue
        values = weight(model, name, shape)
        tensors[name] = (dtype, bf16_words(values) if dtype == "BF16" else values)
    return tensors


def write_folder(folder: Path, model: str) -> None:
    stated = dict(CONFIGS[model])
    if model in GPTQ:
        bits, group, act_order, version, symmetric = GPTQ[model]
        stated["quantization_config"] = {
            "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order, "sym": symmetric,
            "checkpoint_format": "gptq" if version == 1 else "gptq_v2", "lm_head": False, "pack_dtype": "int32",
        }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    tensors = stored_tensors(model, stated)
    count = SHARDS.get(model, 1)
    if count == 1:
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    else:
        write_shards(folder, tensors, count)
    (folder / "expected.json").write_text(expected(folder, model))


def write_shards(folder: Path, tensors: dict[str, tuple[str, Array]], count: int) -> None:
    places: dict[str, str] = {}
    for shard in range(count):
        names = list(tensors)[shard * len(tensors) // count : (shard + 1) * len(tensors) // count]
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        write_safetensors(folder / file, {name: tensors[name] for name in names}, {"format": "pt"})
        places |= {name: file for name in names}
    total = sum(array.nbytes for _, array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def expected(path: Path, model: str) -> str:
    tokens = (words(f"{model}/tokens", CONTEXT) % np.uint64(VOCABULARY)).tolist()
    logits = load(path, np.float64).logits(tokens).astype("<f4")
    text = base64.b64encode(logits.tobytes()).decode()
    return json.dumps({"tokens": tokens, "vocabulary": VOCABULARY, "logits": text}) + "\n"


def permuted(rows: Array, heads: int) -> Array:
    """The row order of q and k in GGUF `llama` files: row p*size/2 + j of a head moves to 2j + p."""
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf_version(path: Path, source: Path, kind: str) -> None:
    stated = json.loads((source / "config.json").read_text())
    loaded = load(source)
    arch = "qwen2" if stated["model_type"] == "qwen2" else "llama"
    scaling = stated.get("rope_scaling", {})
    size = loaded.config.head_size
    metadata: list[tuple[str, str, Any]] = [
        ("general.architecture", "string", arch), ("general.name", "string", path.stem),
        ("general.file_type", "u32", 0 if kind == "F32" else 1),
        (f"{arch}.vocab_size", "u32", VOCABULARY), (f"{arch}.context_length", "u32", 1024),
        (f"{arch}.embedding_length", "u32", stated["hidden_size"]),
        (f"{arch}.feed_forward_length", "u32", stated["intermediate_size"]),
        (f"{arch}.block_count", "u32", loaded.config.layers),
        (f"{arch}.attention.head_count", "u32", loaded.config.heads),
        (f"{arch}.attention.head_count_kv", "u32", loaded.config.kv_heads),
        (f"{arch}.attention.key_length", "u32", size), (f"{arch}.attention.value_length", "u32", size),
        (f"{arch}.attention.layer_norm_rms_epsilon", "f32", loaded.config.epsilon),
        (f"{arch}.rope.dimension_count", "u32", size), (f"{arch}.rope.freq_base", "f32", stated["rope_theta"]),
    ]  # fmt: skip
    if scaling.get("rope_type") == "linear":
        metadata.append((f"{arch}.rope.scaling.type", "string", "linear"))
        metadata.append((f"{arch}.rope.scaling.factor", "f32", scaling["factor"]))
    metadata += TOKENIZER
    tensors: dict[str, tuple[str, Array]] = {}
    for name, values in loaded.weights.items():
        if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
            values = permuted(values, loaded.config.heads if ".q_proj." in name else loaded.config.kv_heads)
        tensors[gguf_name(name)] = (kind if values.ndim == 2 else "F32", values)
    if scaling.get("rope_type") == "llama3":
        divisors = llama3_divisors(base_frequencies(stated["rope_theta"], size), scaling)
        tensors["rope_freqs.weight"] = ("F32", divisors)
    write_gguf(path, metadata, tensors)


def gguf_name(name: str) -> str:
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    linear, part = name.rsplit(".", 1)
    if linear in outer:
        return f"{outer[linear]}.{part}"
    _, _, index, inner = linear.split(".", 3)
    return f"blk.{index}.{(LINEARS | NORMS)[inner]}.{part}"


def write_all(folder: Path) -> None:
    for model in CONFIGS:
        write_folder(folder / model, model)
    for name, model, kind in GGUFS:
        write_gguf_version(folder / f"{name}.gguf", folder / model, kind)
        (folder / f"{name}.expected.json").write_text(expected(folder / f"{name}.gguf", model))
    write_bert_folders(folder)


def equal(ours: Path, theirs: Path) -> bool:
    """Byte for byte, but computed numbers within four units in the last place of the largest one."""
    if not theirs.exists():
        return False
    if not ours.name.endswith("expected.json"):
        return ours.read_bytes() == theirs.read_bytes()
    a, b = json.loads(ours.read_text()), json.loads(theirs.read_text())
    for key in ("logits", "hidden", "vectors"):
        if key not in a or key not in b:
            continue
        x, y = (np.frombuffer(base64.b64decode(each.pop(key)), "<f4") for each in (a, b))
        if x.shape != y.shape or float(abs(x - y).max()) > 4 * 2.0**-24 * float(abs(x).max()):
            return False
    return a == b


def check(folder: Path) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        write_all(Path(scratch) / "new")
        written = sorted(path for path in (Path(scratch) / "new").rglob("*") if path.is_file())
        names = [path.relative_to(Path(scratch) / "new") for path in written]
        differ = [str(name) for name, path in zip(names, written) if not equal(path, folder / name)]
        differ += [str(path) for path in folder.rglob("*") if path.is_file() and path.relative_to(folder) not in names]
    print("\n".join(f"differs: {name}" for name in differ) or f"{len(names)} files are as committed")
    return 1 if differ else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes tiny random checkpoints with expected logits.")
    parser.add_argument("folder", type=Path, help="must not hold them yet, or, with --check, the ones to compare")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(check(arguments.folder))
    write_all(arguments.folder)
