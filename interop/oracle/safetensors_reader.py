"""Reads and writes safetensors files, and reads Hugging Face folders with one file or several shards.

Reading is strict: the tensors must tile the data buffer exactly, and no key may stand twice.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# BF16 is held as its 16-bit words and F8_E4M3 as its bytes; `as_float32` widens them.
DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "F8_E4M3": "<u1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
# The reference writer's order: wide items first, so that every tensor is aligned to its item size.
WRITE_ORDER = ["U64", "I64", "F64", "U32", "I32", "F32", "BF16", "F16", "U16", "I16", "F8_E4M3", "I8", "U8", "BOOL"]


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key stands twice in the header")
    return dict(pairs)


class SafetensorsFile:
    def __init__(self, path: str | Path) -> None:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        (length,) = struct.unpack("<Q", bytes(data[:8]))
        if length > min(100_000_000, len(data) - 8):
            raise ValueError(f"{path}: header length {length} is beyond the file or the limit")
        header = json.loads(bytes(data[8 : 8 + length]), object_pairs_hook=unique_keys)
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        self.header: dict[str, Any] = header
        self.buffer = data[8 + length :]
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, stop = entry["data_offsets"]
            size = int(np.prod(entry["shape"], dtype=np.int64)) * np.dtype(DTYPES[entry["dtype"]]).itemsize
            if begin != end or stop - begin != size:
                raise ValueError(f"{path}: {name} leaves a hole, overlaps, or has {stop - begin} bytes, not {size}")
            end = stop
        if end != len(self.buffer):
            raise ValueError(f"{path}: {len(self.buffer) - end} bytes after the last tensor")

    def dtype(self, name: str) -> str:
        return self.header[name]["dtype"]

    def read(self, name: str) -> Array:
        """The tensor as stored; BF16 as uint16 words, F8_E4M3 as bytes."""
        entry = self.header[name]
        begin, stop = entry["data_offsets"]
        return np.frombuffer(self.buffer[begin:stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])

    def as_float32(self, name: str) -> NDArray[np.float32]:
        stored = self.read(name)
        if self.dtype(name) == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        if self.dtype(name) == "F8_E4M3":
            return f8_e4m3(stored)
        return stored.astype(np.float32)


class SafetensorsFolder:
    """`model.safetensors`, or the shards named by `model.safetensors.index.json`."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        index = folder / "model.safetensors.index.json"
        if index.exists():
            places: dict[str, str] = json.loads(index.read_text())["weight_map"]
        else:
            places = {name: "model.safetensors" for name in SafetensorsFile(folder / "model.safetensors").header}
        self.paths = sorted({folder / place for place in places.values()})
        files = {path.name: SafetensorsFile(path) for path in self.paths}
        for name, place in places.items():
            if name not in files[place].header:
                raise ValueError(f"{index}: {name} is not in {place}")
        self.files = {name: files[place] for name, place in places.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def modules(self, part: str) -> list[str]:
        """Names of modules that have a tensor `part`."""
        return [name.removesuffix(f".{part}") for name in self.files if name.endswith(f".{part}")]

    def dtype(self, name: str) -> str:
        return self.files[name].dtype(name)

    def read(self, name: str) -> Array:
        return self.files[name].read(name)

    def as_float32(self, name: str) -> NDArray[np.float32]:
        return self.files[name].as_float32(name)


def f8_e4m3(stored: Array) -> NDArray[np.float32]:
    """Sign, four bits of exponent (bias 7), three of mantissa; no infinities, all ones is NaN; the largest is 448."""
    exponent, mantissa = (stored >> 3 & 15).astype(np.int32), (stored & 7).astype(np.float32)
    normal = np.ldexp(8 + mantissa, exponent - 10)
    size = np.where(exponent == 0, np.ldexp(mantissa, -9), normal).astype(np.float32)
    size[(stored & 127) == 127] = np.nan
    return np.where(stored >> 7, -size, size)


def bf16_words(values: Array) -> NDArray[np.uint16]:
    """Rounds float32 to bfloat16, ties to even; values must be finite."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(
    path: str | Path, tensors: dict[str, tuple[str, Array]], metadata: dict[str, str] | None = None
) -> None:
    """Writes (dtype name, array) pairs; BF16 arrays are given as uint16 words, F8_E4M3 as bytes."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    ordered = sorted(tensors.items(), key=lambda item: (WRITE_ORDER.index(item[1][0]), item[0]))
    parts, offset = [], 0
    for name, (dtype, array) in ordered:
        part = np.ascontiguousarray(array, dtype=DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(part)]}
        parts.append(part)
        offset += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
