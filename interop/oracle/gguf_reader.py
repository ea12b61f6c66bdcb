"""Reads GGUF version 2 and 3 files and dequantises their tensors, in plain NumPy.

Written from the published layout alone, so that it can judge files which Pare wrote.
Each decoder takes the blocks of a tensor as uint8 [blocks, bytes] and returns float32 [blocks, elements].
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<u1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
BOOL, STRING, ARRAY = 7, 8, 9

IQ4_NL_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32)


def half(blocks: Bytes, offset: int) -> Floats:
    """The fp16 field at a byte offset of every block, as a column [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, offset : offset + 2]).view("<f2").astype(np.float32)


def signed(values: Bytes) -> Floats:
    return np.ascontiguousarray(values).view(np.int8).astype(np.float32)


def nibbles(packed: Bytes) -> Bytes:
    """[blocks, n] bytes to [blocks, 2n] codes: all low nibbles, then all high nibbles."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def fifth_bits(blocks: Bytes, offset: int) -> Bytes:
    """Bit i of the little-endian u32 at an offset, for i = 0..31, as 0 or 16."""
    return np.unpackbits(blocks[:, offset : offset + 4], axis=1, bitorder="little") << 4


def f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def bf16(blocks: Bytes) -> Floats:
    words = np.ascontiguousarray(blocks).view("<u2").astype(np.uint32)
    return (words << 16).view(np.float32)


def q8_0(b: Bytes) -> Floats:
    return half(b, 0) * signed(b[:, 2:34])


def q4_0(b: Bytes) -> Floats:
    return half(b, 0) * (nibbles(b[:, 2:18]).astype(np.float32) - 8)


def q4_1(b: Bytes) -> Floats:
    return half(b, 0) * nibbles(b[:, 4:20]) + half(b, 2)


def q5_0(b: Bytes) -> Floats:
    codes = nibbles(b[:, 6:22]) | fifth_bits(b, 2)
    return half(b, 0) * (codes.astype(np.float32) - 16)


def q5_1(b: Bytes) -> Floats:
    return half(b, 0) * (nibbles(b[:, 8:24]) | fifth_bits(b, 4)) + half(b, 2)


def iq4_nl(b: Bytes) -> Floats:
    return half(b, 0) * IQ4_NL_LEVELS[nibbles(b[:, 2:18])]


def two_bit_planes(packed: Bytes) -> Bytes:
    """64 bytes to 256 codes: element 128n + 32j + l is bits 2j, 2j+1 of byte 32n + l."""
    halves = packed.reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    return ((halves >> shifts) & 3).reshape(-1, 256)


def q2_k(b: Bytes) -> Floats:
    scales = b[:, :16]
    codes = two_bit_planes(b[:, 16:80]).reshape(-1, 16, 16).astype(np.float32)
    scale = half(b, 80) * (scales & 15)
    minimum = half(b, 82) * (scales >> 4)
    return (scale[:, :, None] * codes - minimum[:, :, None]).reshape(-1, 256)


def q3_k(b: Bytes) -> Floats:
    low = two_bit_planes(b[:, 32:96])
    planes = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = ((b[:, None, :32] >> planes) & 1).reshape(-1, 256)
    codes = low.astype(np.float32) - 4 * (1 - high.astype(np.float32))
    packed = b[:, 96:108]
    top_shift = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 4, 1)
    top = ((packed[:, None, 8:12] >> top_shift) & 3).reshape(-1, 16)
    scale = half(b, 108) * ((nibbles(packed[:, :8]) | top << 4).astype(np.float32) - 32)
    return (scale[:, :, None] * codes.reshape(-1, 16, 16)).reshape(-1, 256)


def six_bit_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The 12 bytes of Q4_K and Q5_K to 8 scales and 8 minima."""
    a, m, mixed = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([a & 63, (mixed & 15) | (a >> 6) << 4], axis=1)
    minima = np.concatenate([m & 63, (mixed >> 4) | (m >> 6) << 4], axis=1)
    return scales, minima


def nibble_planes(packed: Bytes) -> Bytes:
    """128 bytes to [blocks, 8, 32]: sub-block 2k is the low, 2k+1 the high nibbles of bytes 32k..32k+31."""
    quarters = packed.reshape(-1, 4, 1, 32)
    return np.concatenate([quarters & 15, quarters >> 4], axis=2).reshape(-1, 8, 32)


def scaled_minus_minimum(b: Bytes, codes: Bytes) -> Floats:
    scales, minima = six_bit_scales(b[:, 4:16])
    scale, minimum = half(b, 0) * scales, half(b, 2) * minima
    return (scale[:, :, None] * codes - minimum[:, :, None]).reshape(-1, 256)


def q4_k(b: Bytes) -> Floats:
    return scaled_minus_minimum(b, nibble_planes(b[:, 16:144]))


def q5_k(b: Bytes) -> Floats:
    planes = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = (b[:, None, 16:48] >> planes) & 1
    return scaled_minus_minimum(b, nibble_planes(b[:, 48:176]) | high << 4)


def q6_k(b: Bytes) -> Floats:
    ql, qh = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192].reshape(-1, 2, 1, 32)
    low = np.concatenate([ql & 15, ql >> 4], axis=2)  # [blocks, half, r, 32]
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    codes = (low | ((qh >> shifts) & 3) << 4).reshape(-1, 16, 16).astype(np.float32) - 32
    scale = half(b, 208) * signed(b[:, 192:208])
    return (scale[:, :, None] * codes).reshape(-1, 256)


@dataclass(frozen=True)
class TensorType:
    name: str
    elements: int
    bytes: int
    decode: Callable[[Bytes], Floats]


TYPES = {
    0: TensorType("F32", 1, 4, f32),
    1: TensorType("F16", 1, 2, f16),
    30: TensorType("BF16", 1, 2, bf16),
    2: TensorType("Q4_0", 32, 18, q4_0),
    3: TensorType("Q4_1", 32, 20, q4_1),
    6: TensorType("Q5_0", 32, 22, q5_0),
    7: TensorType("Q5_1", 32, 24, q5_1),
    8: TensorType("Q8_0", 32, 34, q8_0),
    20: TensorType("IQ4_NL", 32, 18, iq4_nl),
    10: TensorType("Q2_K", 256, 84, q2_k),
    11: TensorType("Q3_K", 256, 110, q3_k),
    12: TensorType("Q4_K", 256, 144, q4_k),
    13: TensorType("Q5_K", 256, 176, q5_k),
    14: TensorType("Q6_K", 256, 210, q6_k),
}


@dataclass(frozen=True)
class TensorInfo:
    name: str
    shape: tuple[int, ...]  # slowest first: [out, in]
    type: TensorType
    start: int  # byte offset in the file
    size: int  # bytes


class Cursor:
    """Reads little-endian fields one after the other; running past the end raises struct.error."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        if length > len(self.data) - self.at:
            raise ValueError("a string runs past the end of the file")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            if element == STRING:
                return [self.string() for _ in range(count)]
            return self.numbers(element, count).tolist()
        number = self.numbers(kind, 1)[0]
        return bool(number) if kind == BOOL else number.item()

    def numbers(self, kind: int, count: int) -> NDArray[Any]:
        dtype = np.dtype(SCALARS[kind])
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += count * dtype.itemsize
        return values


class GgufFile:
    """A GGUF file: `metadata` by key, `tensors` by name in file order, `read(name)` as float32."""

    def __init__(self, path: str | Path) -> None:
        self.data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        cursor = Cursor(memoryview(self.data))
        if bytes(self.data[:4]) != b"GGUF":
            raise ValueError(f"{path}: no GGUF magic")
        cursor.at = 4
        self.version: int = cursor.scalar("I")
        if self.version not in (2, 3):
            raise ValueError(f"{path}: GGUF version {self.version} is not 2 or 3")
        tensor_count, pair_count = cursor.scalar("Q"), cursor.scalar("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(pair_count):
            key = cursor.string()
            if key in self.metadata:
                raise ValueError(f"{path}: key {key} stands twice")
            self.metadata[key] = cursor.value(cursor.scalar("I"))
        headers = [self._header(cursor) for _ in range(tensor_count)]
        self.alignment: int = self.metadata.get("general.alignment", 32)
        self.tensors = self._place(headers, self._padded(cursor.at))

    @staticmethod
    def _header(cursor: Cursor) -> tuple[str, tuple[int, ...], TensorType, int]:
        name = cursor.string()
        sizes = [cursor.scalar("Q") for _ in range(cursor.scalar("I"))]
        return name, tuple(reversed(sizes)), TYPES[cursor.scalar("I")], cursor.scalar("Q")

    def _padded(self, position: int) -> int:
        return -(-position // self.alignment) * self.alignment

    def _place(self, headers: list[Any], start: int) -> dict[str, TensorInfo]:
        """Checks what llama.cpp demands: offsets in listed order, each tensor padded to the alignment."""
        tensors: dict[str, TensorInfo] = {}
        expected = 0
        for name, shape, kind, offset in headers:
            count = int(np.prod(shape, dtype=np.int64))
            if name in tensors or offset != expected or shape[-1] % kind.elements:
                raise ValueError(f"tensor {name}: double name, offset {offset} != {expected}, or broken block row")
            size = count // kind.elements * kind.bytes
            if start + offset + size > len(self.data):
                raise ValueError(f"tensor {name} runs past the end of the file")
            tensors[name] = TensorInfo(name, shape, kind, start + offset, size)
            expected = self._padded(offset + size)
        return tensors

    def raw(self, name: str) -> Bytes:
        info = self.tensors[name]
        return np.asarray(self.data[info.start : info.start + info.size]).reshape(-1, info.type.bytes)

    def read(self, name: str) -> Floats:
        info = self.tensors[name]
        return info.type.decode(self.raw(name)).reshape(info.shape)
