"""GPTQ, SparseGPT or Wanda by llm-compressor's `oneshot` on the CPU. Prints JSON.

    llmcompressor_oneshot.py MODEL.gguf CALIBRATION.json [--method sparsegpt] --evaluation HELD_OUT.json --folder SCRATCH

GPTQ has the settings of torch_gptq.py --static-groups: llm-compressor 0.14 has act-order with groups in file order only
("static"). SparseGPT and Wanda set half of the weights to zero, without a pattern. It takes one decoder block at a time.
The GGUF file is first written as a Hugging Face folder under SCRATCH (not timed). The window files come from
`interop/oracle/evaluate.py --dump`, so that no tokenizer or data set is involved.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from llmcompressor import oneshot
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from gguf_to_folder import write_folder


def read_windows(path: str) -> list[list[int]]:
    windows: Any = json.loads(Path(path).read_text())
    return windows


def perplexity(model: PreTrainedModel, windows: list[list[int]]) -> float:
    total = 0.0
    with torch.inference_mode():
        for window in windows:
            logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, :-1]
            total += F.cross_entropy(logits.float(), torch.tensor(window[1:])).item()
    return math.exp(total / len(windows))


def recipe(options: argparse.Namespace) -> Modifier:
    if options.method != "gptq":
        half = {"sparsity": 0.5, "mask_structure": "0:0", "targets": ["Linear"], "ignore": ["lm_head"]}
        if options.method == "wanda":
            return WandaPruningModifier(**half)
        return SparseGPTModifier(**half, block_size=128, dampening_frac=0.01)
    weights = {
        "num_bits": options.bits, "type": "int", "symmetric": True, "strategy": "group",
        "group_size": options.group_size, "actorder": "static",
    }  # fmt: skip
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return GPTQModifier(
        config_groups=groups, ignore=["lm_head"], block_size=128, dampening_frac=0.01, actorder="static"
    )


def batch(items: list[list[int]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor(items)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    write_folder(options.model, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    held_out = read_windows(options.evaluation) if options.evaluation else []
    before = perplexity(model, held_out) if held_out else None
    calibration = [window[: options.tokens] for window in read_windows(options.calibration)[: options.sequences]]
    loader = DataLoader(calibration, batch_size=1, collate_fn=batch)
    started = time.perf_counter()
    compressed = oneshot(
        model=model,
        processor=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE())),  # asked for, though ids are given
        dataset=loader,
        recipe=recipe(options),
        max_seq_length=options.tokens,
        num_calibration_samples=len(calibration),
    )
    total = time.perf_counter() - started
    after = perplexity(compressed, held_out) if held_out else None
    result = {
        "llmcompressor": version("llmcompressor"), "torch": torch.__version__, "threads": options.threads,
        "method": options.method, "sequences": len(calibration), "tokens": options.tokens, "total_s": total,
        "perplexity_before": before, "perplexity_after": after,
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("calibration", help="JSON file of token windows")
    parser.add_argument("--evaluation", help="JSON file of held-out token windows")
    parser.add_argument("--folder", required=True, help="scratch folder for the model as safetensors")
    parser.add_argument("--method", choices=["gptq", "sparsegpt", "wanda"], default="gptq")
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    main(parser.parse_args())
