"""Time and memory of training steps, under each allocator that a user could choose. Linux with glibc."""

from __future__ import annotations

import ctypes.util
import json
import os
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def resident(field: str) -> int:
    """Bytes that the kernel counts for this process: VmRSS is now, VmHWM the most since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure_steps(step: Callable[[], Any], warm_up: int, repeats: int) -> dict[str, Any]:
    """`step` is one whole step of the optimiser. The three steps that memory is read over count as warm-up."""
    before = resident("VmRSS")
    reset_peak()
    for _ in range(3):
        step()
    growth = resident("VmHWM") - before
    for _ in range(warm_up - 3):
        step()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return {
        "median_step_s": statistics.median(seconds),
        "best_step_s": min(seconds),
        "resident_before_bytes": before,
        "growth_to_step_3_bytes": growth,
    }


def add_measurement_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=5, help="steps before the timed ones, at least 3")
    parser.add_argument("--repeats", type=int, default=20, help="timed steps")
    parser.add_argument("--preload", action="append", default=[], help="path of another allocator to try")
    parser.add_argument("--in-process", action="store_true", help="measure here, under the allocator of this process")


def allocators(preloads: list[str]) -> dict[str, dict[str, str]]:
    """Name to environment: glibc as it is, glibc that never gives memory back, and the libraries that are there."""
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
    found = [ctypes.util.find_library(name) for name in ("jemalloc", "tcmalloc_minimal")]
    libraries = [library for library in found if library] + preloads
    return {
        "default": {},
        "glibc, memory kept": kept,
        **{Path(library).name: {"LD_PRELOAD": library} for library in libraries},
    }


def under_each_allocator(preloads: list[str], rate: str, flags: Sequence[str] = ()) -> dict[str, Any]:
    """Runs this program once under each allocator; `rate` names the field of its result that counts."""
    results = {}
    for name, variables in allocators(preloads).items():
        command = [sys.executable, *sys.argv, *flags, "--in-process"]
        done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, check=True)
        results[name] = json.loads(done.stdout)
    best = max(results, key=lambda name: results[name][rate])
    return {"best": best, rate: results[best][rate], "allocators": results}
