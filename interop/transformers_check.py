"""Compares what is expected of the tiny checkpoints with transformers' float64 forward. Exit 1 when one differs.

transformers_check.py fixtures
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

# Relative to the largest logit. transformers computes rotary angles and norms in float32 even in a float64 model.
TOLERANCE = 1e-5


def encoder_error(folder: Path, expected: dict) -> float:
    """Of the states of all texts in one padded batch; infinite where the tokenizer gives other ids."""
    longest = max(map(len, expected["ids"]))
    batch = AutoTokenizer.from_pretrained(folder)(
        expected["texts"], padding=True, truncation=True, max_length=longest, return_tensors="pt"
    )
    lengths = batch["attention_mask"].sum(1).tolist()
    if [row[:length].tolist() for row, length in zip(batch["input_ids"], lengths)] != expected["ids"]:
        return float("inf")
    model = AutoModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    with torch.inference_mode():
        found = model(**batch).last_hidden_state.numpy()
    hidden = np.frombuffer(base64.b64decode(expected["hidden"]), "<f4")
    return float(abs(np.concatenate([row[:length].ravel() for row, length in zip(found, lengths)]) - hidden).max())


if __name__ == "__main__":
    failures = 0
    for folder in sorted(path.parent for path in Path(sys.argv[1]).glob("*/config.json")):
        if "quantization_config" in json.loads((folder / "config.json").read_text()):
            print(f"skipped {folder.name}: needs a kernel package")
            continue
        expected = json.loads((folder / "expected.json").read_text())
        if "hidden" in expected:
            error = encoder_error(folder, expected)
            failures += error > TOLERANCE
            print(f"{'ok     ' if error <= TOLERANCE else 'FAILED '} {folder.name}: {error:.1e}")
            continue
        logits = np.frombuffer(base64.b64decode(expected["logits"]), "<f4").reshape(-1, expected["vocabulary"])
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
        with torch.inference_mode():
            found = model(torch.tensor([expected["tokens"]])).logits[0].numpy()
        error = float(abs(found - logits).max() / abs(logits).max())
        failures += error > TOLERANCE
        print(f"{'ok     ' if error <= TOLERANCE else 'FAILED '} {folder.name}: {error:.1e}")
    sys.exit(1 if failures else 0)
