"""The decoder on the host of spqr_quant, the library of SpQR, built without its CUDA kernels (g++ and ninja needed).

The package builds itself when it is imported, with nvcc. Its `dequantize_compressed` runs on the CPU: this compiles that
source alone, beside empty functions in place of the kernels that it names.
"""

from __future__ import annotations

import site
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch.utils.cpp_extension import load

# What spqr_cuda.cpp declares and its .cu file defines.
KERNELS = """
#include <cstdint>
#include <cuda_runtime.h>
int spqr_matvec(int, int, int, int, int, const void *, const void *, int, void *, void *, int, void *, void *,
                cudaStream_t, void *, uint32_t) { return 1; }
int torch_matvec(int, int, void *, void *, void *, void *, cudaStream_t) { return 1; }
"""


@cache
def library() -> Any:
    spec = find_spec("spqr_quant")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("spqr_quant is not here")
    sources = Path(spec.submodule_search_locations[0]) / "inference_kernels"
    headers = [next(Path(folder).glob("nvidia/*/include/cuda_fp16.h"), None) for folder in site.getsitepackages()]
    build = Path(mkdtemp(prefix="spqr-host-"))
    (build / "kernels.cpp").write_text(KERNELS)
    return load(
        name="spqr_host",
        sources=[str(sources / "spqr_cuda.cpp"), str(build / "kernels.cpp")],
        extra_include_paths=[str(sources), *(str(header.parent) for header in headers if header)],
        extra_cflags=["-w"],
        build_directory=str(build),
    )


def dequantize(outputs: int, inputs: int, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """[outputs, inputs] in float16, columns in their stored order."""
    dense = torch.zeros(outputs, inputs, dtype=torch.float16)
    stored = [parts[name].contiguous() for name in ("dense_weights", "row_offsets", "col_vals")]
    library().dequantize_compressed(outputs, inputs, 3, 16, 16, *stored, stored[2].numel(), dense)
    return dense
