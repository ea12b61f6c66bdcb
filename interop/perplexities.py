"""Compares perplexities that several programs give for the same tokens. Prints a line a check, then the counts.

    perplexities.py RESULTS

RESULTS is the folder that check.sh fills with the JSON of each program. Exit 1 when a check fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Of SmolLM2-135M-Instruct Q4_1 on 256 predictions each, from an independent program in float64.
KNOWN = {"moby": 44.30, "speech": 39.56}
KNOWN_TOLERANCE = 0.005
# llama.cpp rounds activations to 8 bits where weights are quantised.
TOLERANCE = 0.01

passed = failed = 0


def check(title: str, found: float, expected: float, tolerance: float) -> None:
    global passed, failed
    off = found / expected - 1
    good = abs(off) <= tolerance
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok     ' if good else 'FAILED '} {title}: {found:.4f} against {expected:.4f} ({off:+.3%}, allowed {tolerance:.1%})")


def same(title: str, found: Any, expected: Any) -> None:
    global passed, failed
    good = found == expected
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok     ' if good else 'FAILED '} {title}")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    read = lambda name: json.loads((folder / f"{name}.json").read_text())  # noqa: E731
    for text, known in KNOWN.items():
        check(f"source, head of {text}: Pare against the known value", read(f"pare-{text}")["perplexity"], known, KNOWN_TOLERANCE)
        oracle = next(iter(read(f"oracle-{text}")["texts"].values()))["perplexity"]
        check(f"source, head of {text}: oracle against the known value", oracle, known, KNOWN_TOLERANCE)
    judged = {"gguf": ("llama", "oracle"), "mix": ("llama", "oracle"), "gptq": ("oracle",), "vllm": ("oracle",), "mlx": ("oracle",)}
    for model, judges in judged.items():
        for judge in judges:
            found, theirs = read(f"pare-{model}")["perplexity"], read(f"{judge}-{model}")["perplexity"]
            check(f"{model}: Pare against {judge}", found, theirs, TOLERANCE)
    llama = list(read("llama-gguf")["tokens"].values())
    for at, (text, ours) in enumerate(zip(("part", "speech"), read("ids-pare"), strict=True)):
        oracle = read(f"ids-oracle-{text}")
        same(f"token ids of {text}.txt: Pare and oracle agree on {len(oracle)}", ours, oracle)
        same(f"token ids of {text}.txt: llama.cpp and oracle agree", llama[at], oracle)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
