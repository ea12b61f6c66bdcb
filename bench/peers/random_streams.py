"""The named random streams of Pare (src/tensor/random.ts), so that PyTorch starts from the same weights and batches.

A stream's 64-bit key is the first 8 bytes, little-endian, of SHA-256 of the UTF-8 text `{seed}/{name}`. Block c of it
is Philox4x32-10 (Salmon et al., SC 2011, section 3.3) of counter c, four 32-bit words; a call begins at the next whole
block. Normal numbers are Box and Muller's in f64, two of two words.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(key: int, counter: int, blocks: int) -> NDArray[np.uint64]:
    """Words of `blocks` consecutive blocks, [blocks, 4], each below 2^32."""
    at = np.arange(counter, counter + blocks, dtype=np.uint64)
    c0, c1, c2, c3 = at & LOW, at >> HALF, np.zeros_like(at), np.zeros_like(at)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1 = (second >> HALF) ^ c1 ^ np.uint64(k0), second & LOW
        c2, c3 = (first >> HALF) ^ c3 ^ np.uint64(k1), first & LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


class Stream:
    def __init__(self, seed: int, name: str) -> None:
        self.key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")
        self.position = 0

    def bits(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Whole numbers from 0 to 2^32 - 1."""
        count = int(np.prod(shape))
        blocks = -(-count // 4)
        words = philox(self.key, self.position, blocks)
        self.position += blocks
        return words.reshape(-1)[:count].astype(np.int64).reshape(shape)

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Mean 0, variance 1."""
        count = int(np.prod(shape))
        u: NDArray[Any] = (self.bits((-(-count // 2), 2)) + 0.5) * 2.0**-32
        radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return pairs.reshape(-1)[:count].reshape(shape)
