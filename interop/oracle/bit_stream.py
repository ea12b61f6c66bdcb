"""Codes of 1 to 8 bits in 32-bit words: as one little-endian bit stream, or as many as are whole in a word.

For 1, 2, 4 and 8 bits both are the same. As a stream, 32 codes of 3 bits take three words; by the word, ten codes take
one and two bits are wasted (GPTQ and MLX: always the stream; compressed-tensors: by the word until 0.17).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def stream_words(count: int, bits: int) -> int:
    return -(-count * bits // 32)


def whole_words(count: int, bits: int) -> int:
    return -(-count // (32 // bits))


def unpack(words: Array, bits: int, axis: int, count: int | None = None) -> NDArray[np.int32]:
    """Words along an axis to codes 0..2^bits-1 along the same axis; `count` of them, where the last word is padded."""
    moved = np.ascontiguousarray(np.moveaxis(words, axis, -1)).astype("<i4" if words.dtype.kind == "i" else "<u4")
    if count is None:
        if moved.shape[-1] * 32 % bits:
            raise ValueError(f"{moved.shape[-1]} words do not hold whole {bits}-bit codes")
        count = moved.shape[-1] * 32 // bits
    elif moved.shape[-1] != stream_words(count, bits):
        raise ValueError(f"{moved.shape[-1]} words are not those of {count} {bits}-bit codes")
    stream = np.unpackbits(moved.view(np.uint8), axis=-1, bitorder="little")[..., : count * bits]
    fields = stream.reshape(*moved.shape[:-1], count, bits)
    return np.moveaxis(joined(fields), -1, axis)


def unpack_by_word(words: Array, bits: int, axis: int, count: int) -> NDArray[np.int32]:
    """As `unpack`, with floor(32 / bits) codes a word from bit 0 on; the bits above them are not read."""
    moved = np.ascontiguousarray(np.moveaxis(words, axis, -1)).astype("<i4" if words.dtype.kind == "i" else "<u4")
    if moved.shape[-1] != whole_words(count, bits):
        raise ValueError(f"{moved.shape[-1]} words are not those of {count} {bits}-bit codes, {32 // bits} a word")
    stream = np.unpackbits(moved.view(np.uint8), axis=-1, bitorder="little").reshape(*moved.shape, 32)
    fields = stream[..., : 32 // bits * bits].reshape(*moved.shape[:-1], -1, bits)[..., :count, :]
    return np.moveaxis(joined(fields), -1, axis)


def joined(fields: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The bits of each code [..., bits], lowest first, to the code."""
    codes = np.zeros(fields.shape[:-1], dtype=np.uint8)
    for bit in range(fields.shape[-1]):
        codes |= fields[..., bit] << np.uint8(bit)
    return codes.astype(np.int32)


def pack(codes: Array, bits: int, axis: int) -> NDArray[np.int32]:
    """Codes to words, as one stream along the axis; the last word is padded with zeros."""
    moved = np.moveaxis(codes, axis, -1).astype(np.uint8)
    stream = np.unpackbits(moved[..., None], axis=-1, bitorder="little")[..., :bits].reshape(*moved.shape[:-1], -1)
    return packed(stream, stream_words(moved.shape[-1], bits), axis)


def pack_by_word(codes: Array, bits: int, axis: int) -> NDArray[np.int32]:
    moved = np.moveaxis(codes, axis, -1).astype(np.uint8)
    words, each = whole_words(moved.shape[-1], bits), 32 // bits
    filled = np.zeros((*moved.shape[:-1], words * each), dtype=np.uint8)
    filled[..., : moved.shape[-1]] = moved
    stream = np.unpackbits(filled[..., None], axis=-1, bitorder="little")[..., :bits]
    padded = np.zeros((*moved.shape[:-1], words, 32), dtype=np.uint8)
    padded[..., : each * bits] = stream.reshape(*moved.shape[:-1], words, each * bits)
    return packed(padded.reshape(*moved.shape[:-1], -1), words, axis)


def packed(stream: NDArray[np.uint8], words: int, axis: int) -> NDArray[np.int32]:
    filled = np.zeros((*stream.shape[:-1], words * 32), dtype=np.uint8)
    filled[..., : stream.shape[-1]] = stream
    stored = np.packbits(filled, axis=-1, bitorder="little").view("<i4")
    return np.ascontiguousarray(np.moveaxis(stored, -1, axis))
