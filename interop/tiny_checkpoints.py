"""Writes tiny random checkpoints, with what the oracle computes for them: logits of the llama family, and hidden states and
vectors of BERT encoders (tiny_bert.py).

    tiny_checkpoints.py FOLDER           writes them
    tiny_checkpoints.py --check FOLDER   writes them elsewhere and compares: exit 1 when a file differs

Each Hugging Face folder holds config.json, safetensors and expected.json; each GGUF file NAME.gguf has its own
NAME.expected.json: {"tokens": [...], "vocabulary": V, "logits": base64 of little-endian float32 [tokens, V]},
computed in float64. The logits of different machines may differ in the last bit; all other bytes are fixed.

All numbers come from a counter (tiny_llama.py); quantised checkpoints have a table of their own (tiny_quantised.py).
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent / "oracle"))

from gguf_writer import write_gguf  # noqa: E402
from llama_forward import LINEARS, NORMS, base_frequencies, llama3_divisors, load  # noqa: E402
from safetensors_reader import write_safetensors  # noqa: E402
from tiny_bert import write_bert_folders  # noqa: E402
from tiny_llama import DTYPES, VOCABULARY, Tensors, config, expected, shapes, stored, weight  # noqa: E402
from tiny_quantised import write_quantised_folders  # noqa: E402

Array = NDArray[Any]

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
LINEAR = {"rope_type": "linear", "factor": 4.0}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama-tied": config("llama", 2, heads=4, kv_heads=2),
    "llama-untied": config("llama", 1, heads=2, kv_heads=2, tie_word_embeddings=False),
    "llama-head-size": config("llama", 1, heads=2, kv_heads=1, head_dim=16, hidden_size=24),
    "llama-rope-llama3": config("llama", 1, heads=2, kv_heads=1, rope_theta=500.0, rope_scaling=LLAMA3),
    "llama-rope-linear": config("llama", 1, heads=2, kv_heads=1, rope_scaling=LINEAR, torch_dtype="float32"),
    "mistral": config("mistral", 1, heads=4, kv_heads=2, sliding_window=8, torch_dtype="float16"),
    "qwen2": config("qwen2", 1, heads=4, kv_heads=2, rms_norm_eps=1e-6, use_sliding_window=False),
    "smollm": config("llama", 2, heads=3, kv_heads=1, hidden_size=24, rope_theta=100000.0),
}
SHARDS = {"llama-untied": 2}
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


def write_folder(folder: Path, model: str) -> None:
    stated = CONFIGS[model]
    dtype = DTYPES[stated["torch_dtype"]]
    tensors = {name: stored(weight(model, name, shape), dtype) for name, shape in shapes(stated).items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    count = SHARDS.get(model, 1)
    if count == 1:
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    else:
        write_shards(folder, tensors, count)
    (folder / "expected.json").write_text(expected(folder, model))


def write_shards(folder: Path, tensors: Tensors, count: int) -> None:
    places: dict[str, str] = {}
    for shard in range(count):
        names = list(tensors)[shard * len(tensors) // count : (shard + 1) * len(tensors) // count]
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        write_safetensors(folder / file, {name: tensors[name] for name in names}, {"format": "pt"})
        places |= {name: file for name in names}
    total = sum(array.nbytes for _, array in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


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
    write_quantised_folders(folder)
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
