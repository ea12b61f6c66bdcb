"""Rates at which Python's gguf decodes block types: bytes of f32 a second, for types named in the arguments."""

import json
import sys
import time

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

ROWS, COLUMNS, READINGS = 512, 4096, 5

rates = {}
for name in sys.argv[1:]:
    kind = GGMLQuantizationType[name]
    length, size = GGML_QUANT_SIZES[kind]
    # Bytes below 0x3c, so that no half is infinite.
    data = np.random.default_rng(0).integers(0, 0x3C, (ROWS, COLUMNS // length * size), dtype=np.uint8)
    typed = data.view({"F32": np.float32, "F16": np.float16}.get(name, np.uint8))
    seconds = []
    for _ in range(READINGS + 1):
        start = time.perf_counter()
        dequantize(typed, kind)
        seconds.append(time.perf_counter() - start)
    rates[name] = 4 * ROWS * COLUMNS / sorted(seconds[1:])[READINGS // 2]
print(json.dumps(rates))
