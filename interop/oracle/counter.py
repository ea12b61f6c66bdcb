"""Numbers from a counter: the same on every machine, in any language.

Element i of the stream named n is splitmix64(fnv1a64(n) + i).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def mixed(index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64."""
    z = index * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def words(stream: str, count: int) -> NDArray[np.uint64]:
    start = 0xCBF29CE484222325
    for byte in stream.encode():
        start = (start ^ byte) * 0x100000001B3 % 2**64
    return mixed(np.arange(count, dtype=np.uint64) + np.uint64(start))


def uniform(stream: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Multiples of 2^-23 in [-1, 1)."""
    return ((words(stream, math.prod(shape)) >> np.uint64(40)) / 2.0**23 - 1).reshape(shape)
