"""Perplexity of a llama-family model on texts, by a stated protocol; prints JSON.

    evaluate.py MODEL nonoverlap --texts A.txt B.txt --context 512 --windows 16 --every 4 --against SOURCE
    evaluate.py MODEL head --texts A.txt --cut 200000 --tokens 257
    evaluate.py MODEL nonoverlap --texts A.txt --windows 64 --dump WINDOWS.json

CONTEXT/nonoverlap: the texts are joined by two newlines and tokenised once without BOS, the ids cut into
windows of CONTEXT tokens side by side. Windows 0, K, 2K, ... are scored (K is `--every`), each by its own
CONTEXT-1 predictions. The perplexity is exp of the average over windows of their mean negative log-likelihood.

head: each text is cut at a character, what follows is tokenised without BOS, and the first N tokens are one
window with N-1 predictions. One perplexity a text.

With `--against SOURCE`: KL(source || model) in nats and the share of positions where both put the same
token first, averaged in the same way.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bpe import Tokenizer
from gguf_reader import GgufFile
from llama_forward import Llama, load, log_softmax


def score(window: list[int], model: Llama, source: Llama | None) -> dict[str, float]:
    """Mean over the window's predictions, in nats. Log-probabilities are taken in float64."""
    ours = log_softmax(model.logits(window)[:-1].astype(np.float64))
    targets = np.asarray(window[1:])
    result = {"nll": float(-ours[np.arange(len(targets)), targets].mean())}
    if source is not None:
        theirs = log_softmax(source.logits(window)[:-1].astype(np.float64))
        result["kl"] = float((np.exp(theirs) * (theirs - ours)).sum(axis=-1).mean())
        result["agreement"] = float((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean())
    return result


def averaged(scores: list[dict[str, float]]) -> dict[str, float]:
    means = {key: sum(each[key] for each in scores) / len(scores) for key in scores[0]}
    return {"perplexity": math.exp(means["nll"]), **means}


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    if Path(arguments.tokenizer or arguments.model).is_dir():
        raise SystemExit("a folder's tokenizer is not read; name a GGUF file of the same model with --tokenizer")
    tokenizer = Tokenizer(GgufFile(arguments.tokenizer or arguments.model).metadata)
    texts = [Path(path).read_bytes().decode("utf-8") for path in arguments.texts]
    if arguments.protocol == "head":
        windows = [tokenizer.encode(text[arguments.cut :])[: arguments.tokens] for text in texts]
    else:
        ids = tokenizer.encode("\n\n".join(texts))
        starts = range(0, len(ids) - arguments.context + 1, arguments.context * arguments.every)
        windows = [ids[start : start + arguments.context] for start in starts][: arguments.windows]
    if not windows:
        raise SystemExit(f"{len(ids)} tokens hold no window of {arguments.context}")
    if arguments.dump:
        Path(arguments.dump).write_text(json.dumps(windows))
        return {"windows": len(windows), "tokens": sum(map(len, windows)), "file": arguments.dump}
    model = load(arguments.model)
    source = load(arguments.against) if arguments.against else None
    scores = []
    for number, window in enumerate(windows):
        started = time.perf_counter()
        scores.append(score(window, model, source))
        print(
            f"window {number + 1}/{len(windows)}: {scores[-1]} {time.perf_counter() - started:.1f} s", file=sys.stderr
        )
    if arguments.protocol == "head":
        per_text = {path: averaged([each]) for path, each in zip(arguments.texts, scores)}
        return {"protocol": f"head {arguments.cut}+{arguments.tokens}", "texts": per_text}
    protocol = {"protocol": f"{arguments.context}/nonoverlap", "windows": len(windows), "every": arguments.every}
    return protocol | averaged(scores) | {"window_nll": [each["nll"] for each in scores]}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file, or Hugging Face or MLX folder (README.md lists the formats)")
    parser.add_argument("protocol", choices=["nonoverlap", "head"])
    parser.add_argument("--texts", nargs="+", required=True)
    parser.add_argument("--tokenizer", help="GGUF file with the tokenizer (default: the model itself; folders need it)")
    parser.add_argument("--against", help="source model, GGUF file or folder")
    parser.add_argument("--context", type=int, default=512, help="nonoverlap: tokens a window (default 512)")
    parser.add_argument("--windows", type=int, help="nonoverlap: at most so many (default: all)")
    parser.add_argument("--every", type=int, default=1, help="nonoverlap: take every K-th window (default 1)")
    parser.add_argument("--cut", type=int, default=0, help="head: characters left out (default 0)")
    parser.add_argument("--tokens", type=int, default=257, help="head: tokens of the window (default 257)")
    parser.add_argument("--dump", help="only write the token ids of the windows to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    print(json.dumps(evaluate(parse()), indent=2))
