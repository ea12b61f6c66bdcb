"""Tiny random BERT encoders for tests, with the hidden states and vectors that the oracle computes in float64.

expected.json: {"texts": [...], "ids": [[...], ...], "hidden": base64 of little-endian float32, the states of all texts one
after the other, "vectors": base64 of float32 [texts, width]}. Weights come from the counter of the other checkpoints.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_forward import Bert
from counter import uniform
from safetensors_reader import write_safetensors
from wordpiece import WordPiece

LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##ing", "##ed", ".", ",", "!", "1", "東"]
VOCABULARY = PIECES + LETTERS + [f"##{letter}" for letter in LETTERS]
POSITIONS = 16
TEXTS = [
    "The cats!", "", "a", "Purring, purred", "Ça déjà: 東1", "[ zebra ] jumped over the lazy dog and sat down again.", "~",
]  # fmt: skip


def config(**rest: Any) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(VOCABULARY), "hidden_size": 24,
        "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute", "torch_dtype": "float32",
    } | rest  # fmt: skip


# One as sentence-transformers stores it, and one as transformers stores a model with a head, without settings for vectors.
CONFIGS: dict[str, dict[str, Any]] = {
    "bert-sentence": config(),
    "bert-head": config(
        architectures=["BertForMaskedLM"], hidden_act="gelu_new", layer_norm_eps=1e-5, num_hidden_layers=1,
        num_attention_heads=2, torch_dtype="float16",
    ),
}  # fmt: skip
LONGEST = 12
STEPS = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]


def shapes(stated: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = stated["hidden_size"], stated["intermediate_size"]
    linears = {
        "attention.self.query": (width, width), "attention.self.key": (width, width),
        "attention.self.value": (width, width), "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width), "output.dense": (width, inner),
    }  # fmt: skip
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (stated["vocab_size"], width),
        "embeddings.position_embeddings.weight": (POSITIONS, width),
        "embeddings.token_type_embeddings.weight": (stated["type_vocab_size"], width),
    }
    norms = ["embeddings.LayerNorm"]
    for index in range(stated["num_hidden_layers"]):
        for name, shape in linears.items():
            found[f"encoder.layer.{index}.{name}.weight"] = shape
            found[f"encoder.layer.{index}.{name}.bias"] = shape[:1]
        norms += [f"encoder.layer.{index}.{part}.LayerNorm" for part in ("attention.output", "output")]
    for name in norms:
        found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return found


def weight(model: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    u = uniform(f"{model}/{name}", shape)
    if name.endswith("LayerNorm.weight"):
        return 1 + u / 4
    if name.endswith(".bias"):
        return u / 2
    return u if "_embeddings." in name else 2 * u * math.sqrt(3 / shape[1])


def tokenizer() -> dict[str, Any]:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    frame = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": id, "content": content} | special for id, content in enumerate(PIECES[:5])],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [frame[0], {"Sequence": {"id": "A", "type_id": 0}}, frame[1]],
            "pair": [frame[0], {"Sequence": {"id": "A", "type_id": 0}}, frame[1], {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                name: {"id": name, "ids": [VOCABULARY.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {piece: id for id, piece in enumerate(VOCABULARY)},
        },
    }  # fmt: skip


def dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def write_settings(folder: Path) -> None:
    names = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
             for i, (kind, path) in enumerate(STEPS)]  # fmt: skip
    dump(folder / "modules.json", names)
    dump(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    (folder / "1_Pooling").mkdir()
    modes = {"cls_token": False, "mean_tokens": True, "max_tokens": False, "mean_sqrt_len_tokens": False}
    dump(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 24}
         | {f"pooling_mode_{mode}": on for mode, on in modes.items()})  # fmt: skip


def text_of(arrays: list[NDArray[np.float64]]) -> str:
    return base64.b64encode(b"".join(array.astype("<f4").tobytes() for array in arrays)).decode()


def write_bert_folders(root: Path) -> None:
    for model, stated in CONFIGS.items():
        folder = root / model
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
        dump(folder / "tokenizer.json", tokenizer())
        dtype, prefix = ("F32", "") if stated["torch_dtype"] == "float32" else ("F16", "bert.")
        tensors = {prefix + name: (dtype, weight(model, name, shape)) for name, shape in shapes(stated).items()}
        tensors[f"{prefix}embeddings.position_ids"] = ("I64", np.arange(POSITIONS).reshape(1, -1))
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
        if model == "bert-sentence":
            write_settings(folder)
        encoder, pieces = Bert(folder), WordPiece(folder)
        most = LONGEST if model == "bert-sentence" else POSITIONS
        ids = [pieces.encode(text, most) for text in TEXTS]
        dump(folder / "expected.json", {
            "texts": TEXTS, "ids": ids, "hidden": text_of([encoder.hidden(each) for each in ids]),
            "vectors": text_of([encoder.vector(each) for each in ids]),
        })  # fmt: skip
