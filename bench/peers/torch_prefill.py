"""Time of one f32 forward over a token window, all logits, with PyTorch. Prints JSON.

    torch_prefill.py MODEL WINDOWS.json --threads 2 --tokens 512 --repeats 5

MODEL is a GGUF file or Hugging Face folder; WINDOWS.json comes from `interop/oracle/evaluate.py --dump`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from torch_llama import TorchLlama, perplexity, read_windows

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("windows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    window = read_windows(arguments.windows)[0][: arguments.tokens]
    model = TorchLlama(arguments.model)
    with torch.inference_mode():
        found = perplexity(model, [window])  # also warms up
        seconds = []
        for _ in range(arguments.repeats):
            started = time.perf_counter()
            model(torch.tensor([window]))
            seconds.append(time.perf_counter() - started)
    result = {
        "torch": torch.__version__, "threads": arguments.threads, "tokens": len(window), "perplexity": found,
        "best_s": min(seconds), "median_s": statistics.median(seconds),
        "tokens_per_s": len(window) / statistics.median(seconds),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
