"""What MLX and mlx-lm make of the folders that they can open, on the CPU, against the oracle. Exit 1 when one differs.

    mlx_check.py [--loads] [FOLDER...]   folders of MLX, and of AWQ (which mlx-lm turns into its own layout)

Always: the layout, by matrices that mlx.core.quantize makes, for all bits and group sizes. Then of each MLX folder
every weight, dequantised by mlx.core in float32 and in the folder's own type; and of each folder the logits of mlx-lm
in float32, for the tokens of expected.json or else 16 from the counter. mlx-lm fails on tensors that it does not know
or that are missing. With --loads: mlx-lm takes the whole folder, and its tokenizer and template give the text back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm import load as load_folder
from mlx_lm.utils import load_model
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent / "oracle"))

import mlx_reader  # noqa: E402
from checkpoint_weights import quantisation  # noqa: E402
from counter import uniform, words  # noqa: E402
from llama_forward import load  # noqa: E402
from safetensors_reader import SafetensorsFolder  # noqa: E402

UNIT = {mx.float32: 2.0**-24, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}  # half a unit in the last place of 1
# Of logits in float32, relative to the largest. mlx-lm rounds the product of zero and scale of AWQ to float16.
LOGITS = {"mlx": 1e-4, "awq": 2e-3}
failures = 0


def report(title: str, found: float, allowed: float) -> None:
    global failures
    good = found <= allowed
    failures += not good
    print(f"{'ok     ' if good else 'FAILED '} {title}: {found:.1e}, allowed {allowed:.1e}")


def numbers(x: mx.array) -> NDArray[np.float32]:
    return np.array(x.astype(mx.float32))


def excess(w: mx.array, scales: mx.array, biases: mx.array, group: int, bits: int) -> float:
    """Largest difference of mlx's weights and the oracle's, in units of what the type of `scales` rounds.

    mlx rounds the product s q and the sum to that type, which is off by at most |s q| + |W| units; |s q| is at most
    |W| + |b|.
    """
    ours = mlx_reader.dequantise(np.array(w), numbers(scales), numbers(biases), group, bits)
    theirs = numbers(mx.dequantize(w, scales, biases, group, bits))
    repeated = np.repeat(abs(numbers(biases)), group, axis=1)
    return float((abs(ours - theirs) / (2 * repeated + abs(ours) + 1e-30)).max() / UNIT[scales.dtype])


def check_layout() -> None:
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            w = mx.array(uniform(f"mlx-check/{bits}/{group}", (5, 384)).astype(np.float32))
            for dtype in (mx.float32, mx.float16, mx.bfloat16):
                name = str(dtype).removeprefix("mlx.core.")
                stored = mx.quantize(w.astype(dtype), group, bits)
                report(f"{bits} bits, groups of {group}, {name}", excess(*stored, group, bits), 2)


def check_weights(folder: Path, config: dict[str, Any]) -> None:
    files = SafetensorsFolder(folder)
    tensors = {name: part for path in files.paths for name, part in mx.load(str(path)).items()}
    worst = {"float32": 0.0, "own type": 0.0}
    for module in files.modules("scales"):
        w, scales, biases = (tensors[f"{module}.{part}"] for part in ("weight", "scales", "biases"))
        settings = mlx_reader.settings_of(config, module)
        wide = excess(w, scales.astype(mx.float32), biases.astype(mx.float32), *settings)
        worst["float32"] = max(worst["float32"], wide)
        worst["own type"] = max(worst["own type"], excess(w, scales, biases, *settings))
    for kind, found in worst.items():
        report(f"{folder.name}: {len(files.modules('scales'))} weights in {kind}", found, 2)


def check_logits(folder: Path, method: str) -> None:
    ours, expected = load(folder, np.float64), folder / "expected.json"
    vocabulary = len(ours.weights["model.embed_tokens.weight"])
    tokens = (words("mlx-check/tokens", 16) % np.uint64(vocabulary)).tolist()
    if expected.exists():
        tokens = json.loads(expected.read_text())["tokens"]
    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    theirs, logits = numbers(model(mx.array([tokens])))[0], ours.logits(tokens)
    report(f"{folder.name}: logits of mlx-lm", float(abs(theirs - logits).max() / abs(logits).max()), LOGITS[method])


def check_loads(folder: Path) -> None:
    model, tokenizer = load_folder(str(folder))
    model.set_dtype(mx.float32)
    text = "Grüße, 世界! 3.14 tokens"
    same = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    report(f"{folder.name}: the tokenizer gives the text back", float(not same), 0)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True)
    logits = numbers(model(mx.array([ids])))
    report(f"{folder.name}: logits after a chat that are no numbers", float((~np.isfinite(logits)).sum()), 0)
    named = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    ends = set(named if isinstance(named, list) else [named])
    report(f"{folder.name}: ends of a text that differ from the folder's", len(ends ^ set(tokenizer.eos_token_ids)), 0)


if __name__ == "__main__":
    loads = "--loads" in sys.argv
    if not loads:
        check_layout()
    for folder in (Path(each) for each in sys.argv[1:] if each != "--loads"):
        method, config = quantisation(json.loads((folder / "config.json").read_text()))
        if method not in LOGITS:
            raise SystemExit(f"{folder}: mlx-lm does not read {method or 'dense'} as it is")
        if method == "mlx":
            check_weights(folder, config)
        check_logits(folder, method)
        if loads:
            check_loads(folder)
    sys.exit(1 if failures else 0)
