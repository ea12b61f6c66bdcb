"""Writes a GGUF file of the llama family as a dense f32 Hugging Face folder, without tokenizer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "interop" / "oracle"))

import llama_forward  # noqa: E402
from gguf_reader import GgufFile  # noqa: E402
from safetensors_reader import write_safetensors  # noqa: E402


def config(file: GgufFile, model: llama_forward.Llama) -> dict[str, Any]:
    arch = file.metadata["general.architecture"]
    stated = {key.removeprefix(f"{arch}."): value for key, value in file.metadata.items()}
    if "rope.scaling.type" in stated or "rope_freqs.weight" in file.tensors:
        raise ValueError("rope scaling is not carried over")
    names = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
    return {
        "architectures": [names[arch]], "model_type": arch, "torch_dtype": "float32",
        "vocab_size": len(model.weights["model.embed_tokens.weight"]),
        "hidden_size": stated["embedding_length"], "intermediate_size": stated["feed_forward_length"],
        "num_hidden_layers": model.config.layers, "num_attention_heads": model.config.heads,
        "num_key_value_heads": model.config.kv_heads, "head_dim": model.config.head_size, "hidden_act": "silu",
        "max_position_embeddings": stated["context_length"], "rms_norm_eps": model.config.epsilon,
        "rope_theta": stated.get("rope.freq_base", 10000.0),
        "tie_word_embeddings": "lm_head.weight" not in model.weights,
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.metadata.get("tokenizer.ggml.eos_token_id"),
    }  # fmt: skip


def write_folder(path: str, folder: Path) -> None:
    file, model = GgufFile(path), llama_forward.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(file, model), indent=2) + "\n")
    tensors = {name: ("F32", weight) for name, weight in model.weights.items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: gguf_to_folder.py FILE.gguf FOLDER")
    write_folder(sys.argv[1], Path(sys.argv[2]))
