"""Compares the expected logits of the tiny checkpoints with transformers' float64 forward. Exit 1 when one differs.

transformers_check.py fixtures
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

# Relative to the largest logit. transformers computes rotary angles and norms in float32 even in a float64 model.
TOLERANCE = 1e-5

if __name__ == "__main__":
    failures = 0
    for folder in sorted(path.parent for path in Path(sys.argv[1]).glob("*/config.json")):
        if "quantization_config" in json.loads((folder / "config.json").read_text()):
            print(f"skipped {folder.name}: needs a GPTQ kernel package")
            continue
        expected = json.loads((folder / "expected.json").read_text())
        logits = np.frombuffer(base64.b64decode(expected["logits"]), "<f4").reshape(-1, expected["vocabulary"])
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
        with torch.inference_mode():
            found = model(torch.tensor([expected["tokens"]])).logits[0].numpy()
        error = float(abs(found - logits).max() / abs(logits).max())
        failures += error > TOLERANCE
        print(f"{'ok     ' if error <= TOLERANCE else 'FAILED '} {folder.name}: {error:.1e}")
    sys.exit(1 if failures else 0)
