"""Asks llama.cpp which tensor gets which type: the golden values of src/models/write/gguf_mix.test.ts.

    python mix_types.py LIBRARIES ../../src/models/write/golden/gguf_mixes.json

LIBRARIES is the folder of libllama, such as node_modules/@node-llama-cpp/linux-x64/bins/linux-x64. Models with a row or
two in each matrix are quantised to every mix; what types come out does not depend on the values, nor on the rows.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "oracle"))
from gguf_reader import GgufFile  # noqa: E402
from gguf_writer import write_gguf  # noqa: E402

# llama_ftype of llama.h.
MIXES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "IQ4_NL": 25, "Q2_K": 10,
    "Q2_K_S": 21, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17,
    "Q6_K": 18,
}  # fmt: skip

# Layers, heads and heads of keys; columns of hidden, of what attention puts out, and of the feed-forward.
MODELS: dict[str, dict[str, Any]] = {
    "small": {"layers": 3, "heads": 2, "kv": 2},
    "gqa 4, untied": {"layers": 16, "heads": 4, "kv": 1, "untied": True},
    "as SmolLM2-135M": {"layers": 30, "heads": 9, "kv": 3, "hidden": 576, "attention": 576, "intermediate": 1536},
    "as Qwen2.5-0.5B": {"architecture": "qwen2", "layers": 24, "heads": 14, "kv": 2, "hidden": 896, "attention": 896, "intermediate": 4864},
    "narrow feed-forward": {"layers": 17, "heads": 2, "kv": 1, "intermediate": 288, "untied": True},
    "rows of no whole block": {"layers": 2, "heads": 2, "kv": 1, "hidden": 264, "attention": 240, "intermediate": 40, "untied": True},
    "70B": {"layers": 80, "heads": 8, "kv": 1, "untied": True},
    "65B": {"layers": 80, "heads": 2, "kv": 2, "untied": True},
    "qwen2 of 80 layers": {"architecture": "qwen2", "layers": 80, "heads": 2, "kv": 2, "untied": True},
    "fused": {"layers": 12, "heads": 4, "kv": 4, "fused": True, "untied": True},
    "8 experts": {"layers": 32, "heads": 4, "kv": 1, "experts": 8, "untied": True},
    "4 experts": {"layers": 10, "heads": 4, "kv": 2, "experts": 4, "untied": True},
}  # fmt: skip


class Parameters(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("output", ctypes.c_int),
        ("embedding", ctypes.c_int),
        ("flags", ctypes.c_bool * 6),
        ("imatrix", ctypes.c_void_p),
        ("rest", ctypes.c_byte * 128),
    ]


class Importance(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def load(folder: Path) -> ctypes.CDLL:
    ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(next(folder.glob("libggml.v*.so"))), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(next(folder.glob("libllama.v*.so"))), mode=ctypes.RTLD_GLOBAL)
    llama.llama_model_quantize_default_params.restype = Parameters
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama.llama_log_set(quiet, None)
    llama.quiet = quiet
    return llama


def write_model(path: Path, facts: dict[str, Any]) -> dict[str, int]:
    """Returns columns of the matrices by name, times experts."""
    name, layers, experts = facts.get("architecture", "llama"), facts["layers"], facts.get("experts", 0)
    hidden, attention, inner = (facts.get(key, 256) for key in ("hidden", "attention", "intermediate"))
    keys = {
        "vocab_size": 4, "context_length": 64, "embedding_length": hidden, "block_count": layers,
        "feed_forward_length": inner, "attention.head_count": facts["heads"], "attention.head_count_kv": facts["kv"],
        **({"expert_count": experts, "expert_used_count": 2} if experts else {}),
    }  # fmt: skip
    metadata: list[tuple[str, str, Any]] = [
        ("general.architecture", "string", name),
        *((f"{name}.{key}", "u32", value) for key, value in keys.items()),
        (f"{name}.attention.layer_norm_rms_epsilon", "f32", 1e-5),
    ]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (4, hidden), "output_norm.weight": (hidden,)}
    if facts.get("untied"):
        shapes["output.weight"] = (4, hidden)
    stack, suffix = ((experts,), "_exps") if experts else ((), "")
    for layer in range(layers):
        parts = {
            "attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_output": (2, attention),
            **{f"attn_{part}": (2, hidden) for part in (("qkv",) if facts.get("fused") else "qkv")},
            f"ffn_gate{suffix}": (*stack, 2, hidden), f"ffn_up{suffix}": (*stack, 2, hidden), f"ffn_down{suffix}": (*stack, 2, inner),
            **({"ffn_gate_inp": (experts, hidden)} if experts else {}),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in parts.items()}
    random = np.random.default_rng(0)
    tensors = {key: ("F32", random.standard_normal(shape, np.float32)) for key, shape in shapes.items()}
    write_gguf(path, metadata, tensors)
    return {key: shape[-1] * (shape[0] if len(shape) == 3 else 1) for key, shape in shapes.items()}


def types_of(llama: ctypes.CDLL, model: Path, ftype: int, columns: dict[str, int] | None) -> dict[str, str]:
    """With `columns` an importance matrix of ones is given."""
    result = model.with_suffix(".out")
    parameters = llama.llama_model_quantize_default_params()
    parameters.threads, parameters.ftype = 1, ftype
    entries = list((columns or {}).items())
    data = [(ctypes.c_float * size)(*[1.0] * size) for _, size in entries]
    items = [Importance(name.encode(), ones, size) for (name, size), ones in zip(entries, data, strict=True)]
    array = (Importance * (len(items) + 1))(*items)
    if columns is not None:
        parameters.imatrix = ctypes.addressof(array)
    if llama.llama_model_quantize(str(model).encode(), str(result).encode(), ctypes.byref(parameters)) != 0:
        raise RuntimeError(f"llama.cpp does not quantise {model} to type {ftype}")
    return {name: info.type.name for name, info in GgufFile(result).tensors.items() if len(info.shape) > 1}


def in_runs(types: dict[str, str]) -> str:
    """By part, layer after layer: `output Q6_K, attn_v Q6_K*3 Q4_K Q6_K`."""
    parts: dict[str, list[str]] = {}
    ordered = sorted(types, key=lambda name: int(name.split(".")[1]) if name.startswith("blk.") else -1)
    for name in ordered:
        parts.setdefault(name.split(".")[-2], []).append(types[name])
    return ", ".join(
        " ".join([part, *(f"{kind}*{n}" if (n := len(list(run))) > 1 else kind for kind, run in groupby(found))])
        for part, found in parts.items()
    )


def main(libraries: str, target: str) -> None:
    llama = load(Path(libraries))
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for name, facts in MODELS.items():
            model = Path(folder) / "model.gguf"
            columns = write_model(model, facts)
            mixes: dict[str, str] = {}
            for mix, ftype in MIXES.items():
                weighted = in_runs(types_of(llama, model, ftype, columns))
                # llama.cpp makes this one with an importance matrix only.
                plain = weighted if mix == "Q2_K_S" else in_runs(types_of(llama, model, ftype, None))
                mixes[mix] = plain
                if weighted != plain:
                    mixes[f"{mix} imatrix"] = weighted
            cases.append({"name": name, **facts, "mixes": mixes})
    version = next(Path(libraries).glob("libllama.v*.so")).name.removeprefix("libllama.").removesuffix(".so")
    Path(target).write_text(f"{json.dumps({'llama.cpp': version, 'models': cases}, indent=2)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
