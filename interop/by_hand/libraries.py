"""What the formats' own libraries make of quantised folders, on the CPU. Exit 1 when a check fails.

    libraries.py FOLDER...

Of each folder: the weights that the library unpacks, against those in FOLDER.weights.safetensors (what Pare read, see
write_folders.js) or else the oracle's; the logits of transformers' llama on these weights, in float64; and the logits of
transformers when it opens the folder by itself. Logits are compared with those of expected.json. Differences are
relative to the largest number. `no` marks what a library does not open, with its reason: this is no check.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# The product of aqlm adds to one vector from all of its threads.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
# GPTQModel compiles its unpacking anew for each layer, which takes a second each time and changes nothing.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
sys.path[:0] = [str(Path(__file__).parents[1] / "oracle"), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from checkpoint_weights import quantisation, read_weights  # noqa: E402
from library_weights import READERS, Weights, library_version, versions_that_read  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from safetensors_reader import SafetensorsFolder  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig, AutoModelForCausalLM, AwqConfig, CompressedTensorsConfig, GPTQConfig,
)  # fmt: skip

# A product is rounded once on each side, to float32; the reference of SpQR rounds to float16 as Pare does.
WEIGHTS = 2.0**-22
# Sums of float32; weights that the library rounds to the type of their scales before it multiplies; inputs as well.
LOGITS = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2, "all float16": 2e-3}
PACKAGES = {
    "compressed-tensors": "compressed-tensors", "gptq": "gptqmodel", "awq": "gptqmodel", "aqlm": "aqlm",
    "spqr": "spqr_quant",
}  # fmt: skip
counts = {"passed": 0, "failed": 0, "not opened": 0}


def report(title: str, found: float, allowed: float) -> None:
    good = found <= allowed
    counts["passed" if good else "failed"] += 1
    print(f"{'ok     ' if good else 'FAILED '} {title}: {found:.1e}, allowed {allowed:.1e}", flush=True)


def refused(title: str, error: Exception) -> None:
    counts["not opened"] += 1
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"no      {title}: {reason[:160]}", flush=True)


def tensors_of(folder: Path) -> Weights:
    return {name: tensor for path in SafetensorsFolder(folder).paths for name, tensor in load_file(path).items()}


def reference(folder: Path, stated: dict[str, Any]) -> Weights:
    beside = folder.parent / f"{folder.name}.weights.safetensors"
    if beside.exists():
        return load_file(beside)
    return {name: torch.from_numpy(w) for name, w in read_weights(SafetensorsFolder(folder), stated).items()}


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape or not torch.isfinite(found).all():
        return float("inf")
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def logits(model: Any, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0]


def on_dense(stated: dict[str, Any], weights: Weights, tokens: list[int]) -> torch.Tensor:
    dense = {name: value for name, value in stated.items() if name not in ("quantization_config", "quantization")}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**dense), dtype=torch.float64)
    missing, unknown = model.load_state_dict({n: w.double() for n, w in weights.items()}, strict=False)
    if unknown or [name for name in missing if name != "lm_head.weight"]:
        raise ValueError(f"missing {missing}, unknown {unknown}")
    return logits(model, tokens)


def opened(method: str, settings: dict[str, Any], scale_type: str) -> list[tuple[str, dict[str, Any], str]]:
    """How transformers is asked to open a folder, and the type in which its weights are products."""
    if method == "compressed-tensors":
        if library_version() < (0, 15):  # which transformers does not take
            return []
        ways: list[tuple[str, dict[str, Any], str]] = [("", {}, "float32")]
        # transformers takes one scheme for all layers then, and no order of columns.
        schemes = settings["config_groups"].values()
        if len(schemes) == 1 and not any(scheme["weights"].get("actorder") for scheme in schemes):
            whole = CompressedTensorsConfig(dequantize=True)
            ways.append((", dequantize=True", {"quantization_config": whole}, scale_type))
        return ways
    if method == "gptq":
        return [("", {"quantization_config": GPTQConfig(bits=4, backend="gptq_torch")}, "float16")]
    if method == "awq":
        # The kernel that it would choose by itself for one group a row rounds activations as well.
        return [("", {"quantization_config": AwqConfig(backend="torch_awq")}, "all float16")]
    return [("", {}, "float32")]


def check(folder: Path) -> None:
    stated = json.loads((folder / "config.json").read_text())
    method, settings = quantisation(stated)
    if method not in READERS:
        raise SystemExit(f"{folder}: {method or 'dense'} is none of {', '.join(READERS)}")
    expected = json.loads((folder / "expected.json").read_text())
    wanted = torch.from_numpy(
        np.frombuffer(base64.b64decode(expected["logits"]), "<f4").reshape(-1, expected["vocabulary"]).copy()
    )
    tensors, weights = tensors_of(folder), reference(folder, stated)
    if method == "compressed-tensors":
        lowest, end = versions_that_read(tensors, settings)
        if not lowest <= library_version() < end:
            least, first = (".".join(map(str, bound)) for bound in (lowest, end))
            return refused(folder.name, ValueError(f"versions from {least} on and before {first} read it"))
    library = f"{folder.name}: {PACKAGES[method]}"
    try:
        found = READERS[method](tensors, stated)
    except Exception as error:  # of any library
        refused(f"{library}, weights", error)
    else:
        worst = max(distance(dense, weights[f"{module}.weight"]) for module, dense in found.items())
        report(f"{library}, {len(found)} weights", worst, WEIGHTS)
        full = weights | {f"{module}.weight": dense for module, dense in found.items()}
        report(f"{library}, logits of its weights", distance(on_dense(stated, full, expected["tokens"]), wanted), 1e-5)
    scales = {str(t.dtype).removeprefix("torch.") for name, t in tensors.items() if name.endswith("scale")}
    for how, options, kind in opened(method, settings, min(scales, default="float16")):
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
            theirs = logits(model, expected["tokens"]).float()
        except Exception as error:  # of any library
            refused(f"{folder.name}: transformers{how}", error)
        else:
            report(f"{folder.name}: transformers{how}, logits", distance(theirs, wanted), LOGITS[kind])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for package in ("torch", "transformers", *sorted(set(PACKAGES.values())), "optimum"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} is not here")
    for argument in sys.argv[1:]:
        check(Path(argument))
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    sys.exit(1 if counts["failed"] else 0)
