"""Writes small GGUF version 3 files with F32 and F16 tensors, for fixtures and cross-checks."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gguf_reader import TYPES

IDS = {kind.name: number for number, kind in TYPES.items()}
SCALARS = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?"), "u64": (10, "<Q")}


def string(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return struct.pack("<Q", len(encoded)) + encoded


def item(kind: str, value: Any) -> bytes:
    return string(value) if kind == "string" else struct.pack(SCALARS[kind][1], value)


def pair(key: str, kind: str, value: Any) -> bytes:
    """A key with its typed value; a kind such as `string[]` takes a list."""
    element = kind.removesuffix("[]")
    number = 8 if element == "string" else SCALARS[element][0]
    if element == kind:
        return string(key) + struct.pack("<I", number) + item(kind, value)
    items = b"".join(item(element, each) for each in value)
    return string(key) + struct.pack("<IIQ", 9, number, len(value)) + items


def encoded(kind: str, values: NDArray[Any]) -> bytes:
    if kind in ("F32", "F16"):
        return values.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
    raise ValueError(f"type {kind} is not F32 or F16")


def write_gguf(
    path: str | Path,
    metadata: list[tuple[str, str, Any]],
    tensors: dict[str, tuple[str, NDArray[Any]]],
    alignment: int = 32,
) -> None:
    """`metadata` holds (key, kind, value), `tensors` a type name and values with the slowest axis first."""
    infos, parts, offset = b"", [], 0
    for name, (kind, values) in tensors.items():
        part = encoded(kind, values)
        sizes = struct.pack(f"<I{values.ndim}Q", values.ndim, *reversed(values.shape))
        infos += string(name) + sizes + struct.pack("<IQ", IDS[kind], offset)
        parts.append(part + bytes(-len(part) % alignment))
        offset += len(parts[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(pair(*each) for each in metadata) + infos
    Path(path).write_bytes(head + bytes(-len(head) % alignment) + b"".join(parts))
