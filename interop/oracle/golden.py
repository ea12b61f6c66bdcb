"""Checks the readers against known values. Prints each check; exits 1 when one fails.

The block values were cross-checked against the compiled reference decoder of llama.cpp.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

from bit_stream import unpack
from gguf_reader import TYPES, GgufFile
from golden_quantised import check_quantised
from gptq_reader import GptqConfig, dequantise
from safetensors_reader import SafetensorsFile, bf16_words, write_safetensors

# One block whose byte k is (73k + 41) mod 256, with every fp16 field set to 1.0:
# sum x_i, sum i*x_i, x_0, x_17, last x; and the byte offsets of the fp16 fields.
BLOCKS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "Q8_0": ((-48, -640, -69, -108, -110), (0,)),
    "Q4_0": ((-33, -766, 3, -8, -8), (0,)),
    "IQ4_NL": ((-481, -11595, 38, -127, -127), (0,)),
    "Q4_1": ((257, 3737, 14, 10, 10), (0, 2)),
    "Q5_0": ((-45, -1140, 15, -14, 2), (0,)),
    "Q5_1": ((533, 8043, 18, 28, 12), (0, 2)),
    "Q2_K": ((1235, 141639, 7, -3, -7), (80, 82)),
    "Q3_K": ((234, 34512, -7, -4, -24), (108,)),
    "Q4_K": ((49880, 6956024, 68, -23, -23), (0, 2)),
    "Q5_K": ((106600, 14434440, 276, -23, -23), (0, 2)),
    "Q6_K": ((-14844, -1613284, 161, 100, 288), (208,)),
}

failures = 0


def check(title: str, found: object, expected: object) -> None:
    global failures
    good = found == expected
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'} {title}" + ("" if good else f": found {found}, expected {expected}"))


def check_blocks() -> None:
    for kind in TYPES.values():
        if kind.name not in BLOCKS:
            continue
        expected, halves = BLOCKS[kind.name]
        block = (np.arange(kind.bytes) * 73 + 41).astype(np.uint8)
        for offset in halves:
            block[offset : offset + 2] = (0x00, 0x3C)
        # A second, zeroed block: a decoder that mixes blocks would move values into the first.
        x = kind.decode(np.stack([block, np.zeros_like(block)]))[0].astype(np.float64)
        found = (x.sum(), (np.arange(len(x)) * x).sum(), x[0], x[17], x[-1])
        check(f"gguf {kind.name} block", tuple(int(value) for value in found), expected)


def check_floats() -> None:
    words = np.array([[0x80, 0x3F], [0x49, 0xC0]], dtype=np.uint8)
    check("BF16 0x3F80 and 0xC049", TYPES[30].decode(words).ravel().tolist(), [1.0, -3.140625])
    halves = np.array([[0x00, 0x3C], [0x01, 0x00], [0x00, 0xC5]], dtype=np.uint8)
    check("F16 one, smallest subnormal, -5", TYPES[1].decode(halves).ravel().tolist(), [1.0, 2.0**-24, -5.0])
    ties = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8 - 2.0**-20], dtype=np.float32)
    check("bf16 rounds ties to even", bf16_words(ties).tolist(), [0x3F80, 0x3F82, 0xBF81])


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def check_gguf_container(folder: Path) -> None:
    """A file made by hand: one string pair, one array pair, two tensors; sizes stand fastest first."""
    pairs = gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("llama")
    pairs += gguf_text("ids") + struct.pack("<IIQ3i", 9, 5, 3, 7, -8, 9)
    infos = gguf_text("a") + struct.pack("<IQQIQ", 2, 3, 2, 0, 0)
    infos += gguf_text("b") + struct.pack("<IQIQ", 1, 2, 1, 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + pairs + infos
    head += bytes(-len(head) % 32)
    data = np.arange(6, dtype="<f4").tobytes() + bytes(8) + np.array([0.5, -2], dtype="<f2").tobytes() + bytes(28)
    path = folder / "hand.gguf"
    path.write_bytes(head + data)
    file = GgufFile(path)
    check("gguf metadata", file.metadata, {"general.architecture": "llama", "ids": [7, -8, 9]})
    check("gguf sizes are fastest first", file.read("a").tolist(), [[0, 1, 2], [3, 4, 5]])
    check("gguf second tensor after padding", file.read("b").tolist(), [0.5, -2])


def check_safetensors(folder: Path) -> None:
    header = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path = folder / "one.safetensors"
    write_safetensors(path, {"a": ("F32", np.ones(1))})
    stored = path.read_bytes()
    check("safetensors file length", len(stored), 68)
    check("safetensors header", stored[:64], struct.pack("<Q", 56) + header.encode() + b"  ")
    check("safetensors value", SafetensorsFile(path).read("a").tolist(), [1.0])
    path.write_bytes(stored + b"\0")
    try:
        SafetensorsFile(path)
        check("safetensors trailing byte is refused", "read", "refused")
    except ValueError:
        check("safetensors trailing byte is refused", "refused", "refused")


def words(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32).view(np.int32)


def check_gptq() -> None:
    check("gptq 4 bits 0x76543210", unpack(words(0x76543210)[:, None], 4, 0)[:, 0].tolist(), list(range(8)))
    three = words(0x88FAC688, 0xC688FAC6, 0xFAC688FA)
    check("gptq 3 bits along inputs", unpack(three[:, None], 3, 0)[:, 0].tolist(), list(range(8)) * 4)
    check("gptq 3 bits along outputs", unpack(three[None, :], 3, 1)[0].tolist(), list(range(8)) * 4)
    for bits, v1, v2 in ((4, 0x77777777, 0x88888888), (2, 0x55555555, 0xAAAAAAAA), (8, 0x7F7F7F7F, 0x80808080)):
        half = 2 ** (bits - 1)
        outputs = 32 // bits
        codes = np.repeat(words(0x76543210)[:, None], outputs, axis=1)
        scales, groups = np.full((1, outputs), 0.5, dtype=np.float32), np.zeros(32 // bits, dtype=np.int64)
        first = dequantise(codes, words(v1)[None], scales, groups, GptqConfig(bits, 1))
        second = dequantise(codes, words(v2)[None], scales, groups, GptqConfig(bits, 2))
        lone = (0x76543210 & (2**bits - 1)) - half
        check(f"gptq {bits} bits, v1 and v2 zeros agree", (first == second).all(), np.True_)
        check(f"gptq {bits} bits, symmetric zero is {half}", float(first[0, 0]), 0.5 * lone)
    # Inputs 0..7 carry codes 0..7; odd inputs belong to group 1, whose scale is 10 and zero 8 as in group 0.
    scales = np.array([[1.0] * 8, [10.0] * 8], dtype=np.float32)
    codes = np.repeat(words(0x76543210)[:, None], 8, axis=1)
    zeros = words(0x77777777, 0x77777777)[:, None]
    w = dequantise(codes, zeros, scales, np.arange(8) % 2, GptqConfig(4, 1))
    check("gptq g_idx picks the group", w[0].tolist(), [-8, -70, -6, -50, -4, -30, -2, -10])


if __name__ == "__main__":
    check_blocks()
    check_floats()
    with tempfile.TemporaryDirectory() as scratch:
        check_gguf_container(Path(scratch))
        check_safetensors(Path(scratch))
    check_gptq()
    check_quantised(check)
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)
