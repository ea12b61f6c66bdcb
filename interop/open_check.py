"""Opens files with the public packages `safetensors` and `gguf`, and compares every tensor with the oracle's reader.

    open_check.py PATH...   GGUF files, safetensors files, or Hugging Face folders. Exit 1 when a tensor differs.

safetensors: names, types, shapes and bytes, and values of BF16 and F8_E4M3 (through ml_dtypes). GGUF: metadata, names,
types, shapes and dequantised values; those of the two may differ by how float32 sums are rounded. And always: random
blocks of every type of GGUF.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import safetensors

sys.path.insert(0, str(Path(__file__).parent / "oracle"))

from counter import words  # noqa: E402
from gguf_reader import TYPES, GgufFile  # noqa: E402
from safetensors_reader import SafetensorsFile, SafetensorsFolder  # noqa: E402

NARROW = {"BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn}
# Both decoders do at most three operations on a weight in float32.
TOLERANCE = 4 * 2.0**-24


def safetensors_differences(path: Path) -> tuple[int, list[str]]:
    ours, theirs = SafetensorsFile(path), dict(safetensors.deserialize(path.read_bytes()))
    differ = [f"{name} is in one reading only" for name in ours.header.keys() ^ theirs.keys()]
    for name in ours.header.keys() & theirs.keys():
        entry, dtype = theirs[name], ours.dtype(name)
        stored = np.ascontiguousarray(ours.read(name))
        if (dtype, list(stored.shape)) != (entry["dtype"], list(entry["shape"])):
            differ.append(f"{name}: {dtype} {stored.shape}, there {entry['dtype']} {entry['shape']}")
        elif stored.tobytes() != bytes(entry["data"]):
            differ.append(f"{name}: other bytes")
        elif dtype in NARROW:
            wide = np.frombuffer(bytes(entry["data"]), NARROW[dtype]).astype(np.float32).reshape(stored.shape)
            if not np.array_equal(wide, ours.as_float32(name), equal_nan=True):
                differ.append(f"{name}: other values of {dtype}")
    return len(theirs), differ


def gguf_differences(path: Path) -> tuple[int, list[str]]:
    ours, theirs = GgufFile(path), gguf.GGUFReader(path)
    # The package adds fields GGUF.* for the header.
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    differ = [f"key {name} is in one reading only" for name in ours.metadata.keys() ^ fields.keys()]
    differ += [
        f"key {name} differs" for name in ours.metadata.keys() & fields.keys() if ours.metadata[name] != fields[name]
    ]
    tensors = {tensor.name: tensor for tensor in theirs.tensors}
    differ += [f"{name} is in one reading only" for name in ours.tensors.keys() ^ tensors.keys()]
    for name in ours.tensors.keys() & tensors.keys():
        info, tensor = ours.tensors[name], tensors[name]
        shape = tuple(int(size) for size in reversed(tensor.shape))  # they are listed fastest first
        if (info.type.name, info.shape) != (tensor.tensor_type.name, shape):
            differ.append(f"{name}: {info.type.name} {info.shape}, there {tensor.tensor_type.name} {shape}")
            continue
        found, expected = ours.read(name), gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        if not (abs(found - expected) <= TOLERANCE * abs(expected).max()).all():
            differ.append(f"{name}: {info.type.name} differs by {abs(found - expected).max():.1e}")
    return len(tensors), differ


def block_differences() -> tuple[int, list[str]]:
    """Random bytes; where a float16 field is no number, both must say so."""
    differ = []
    for kind in TYPES.values():
        blocks = (words(f"open-check/{kind.name}", 256 * kind.bytes) & np.uint64(255)).astype(np.uint8)
        blocks = blocks.reshape(256, kind.bytes)
        with np.errstate(all="ignore"):
            found = kind.decode(blocks)
            expected = gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind.name]).reshape(found.shape)
            largest = abs(expected).max(axis=1, keepdims=True)
            close = (abs(found - expected) <= TOLERANCE * largest) | (found == expected)
        if not (close | (np.isnan(found) & np.isnan(expected))).all():
            differ.append(f"{kind.name} differs")
    return len(TYPES), differ


def files_of(path: Path) -> list[Path]:
    return SafetensorsFolder(path).paths if path.is_dir() else [path]


failures = 0


def report(what: str, differences: tuple[int, list[str]]) -> None:
    global failures
    count, differ = differences
    failures += bool(differ)
    print(f"{'FAILED ' if differ else 'ok     '} {what}: {count} compared", *differ, sep="\n        ")


if __name__ == "__main__":
    report("types of GGUF", block_differences())
    for path in [file for argument in sys.argv[1:] for file in files_of(Path(argument))]:
        report(str(path), (gguf_differences if path.suffix == ".gguf" else safetensors_differences)(path))
    sys.exit(1 if failures else 0)
