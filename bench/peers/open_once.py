"""Opens one file as Python programs do and prints how long that took, imports apart: gguf, safetensors or onnx, a path."""

import json
import sys
import time
from pathlib import Path


def gguf(path):
    from gguf import GGUFReader

    return lambda: len(GGUFReader(path).tensors)


def safetensors(path):
    from safetensors import safe_open

    def names():
        files = sorted(Path(path).glob("*.safetensors"))
        return sum(len(safe_open(file, framework="numpy").keys()) for file in files)

    return names


def onnx(path):
    import onnx as library

    return lambda: len(library.load(path).graph.initializer)


kind, path = sys.argv[1:]
opener = {"gguf": gguf, "safetensors": safetensors, "onnx": onnx}[kind](path)
start, processor = time.perf_counter(), time.process_time()
count = opener()
print(json.dumps({
    "milliseconds": 1000 * (time.perf_counter() - start),
    "processor": 1000 * (time.process_time() - processor),
    "tensors": count,
}))  # fmt: skip
