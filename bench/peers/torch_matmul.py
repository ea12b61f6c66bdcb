"""Square f32 matrix products with PyTorch: GFLOP/s, best and median. Prints JSON.

torch_matmul.py --threads 2 --sizes 1024 2048 --repeats 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch


def measure(size: int, repeats: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=generator)
    b = torch.randn(size, size, generator=generator)
    out = torch.empty(size, size)
    for _ in range(3):
        torch.matmul(a, b, out=out)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.matmul(a, b, out=out)
        seconds.append(time.perf_counter() - started)
    work = 2 * size**3 / 1e9
    return {"size": size, "best": work / min(seconds), "median": work / statistics.median(seconds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [measure(size, arguments.repeats) for size in arguments.sizes]
    print(json.dumps({"torch": torch.__version__, "threads": arguments.threads, "gflops": results}, indent=2))
