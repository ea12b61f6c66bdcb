"""Checks of the readers of quantised checkpoints: known words, values worked by hand, and bit-by-bit references.

The references take every code from its definition, one at a time, in Python integers; they share no code with the
readers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aqlm_reader
import awq_reader
import mlx_reader
import spqr_reader
from bit_stream import pack, pack_by_word, unpack, unpack_by_word
from bitmask import decompress
from compressed_tensors_reader import Scheme, by_stream, scheme_of, spread
from counter import uniform, words as counted
from gptq_reader import GptqConfig
from safetensors_reader import f8_e4m3

Check = Callable[[str, object, object], None]
Array = NDArray[Any]


def signed(*values: int) -> Array:
    return np.array(values, dtype=np.uint32).view(np.int32)


def random_words(name: str, *shape: int) -> Array:
    return counted(name, int(np.prod(shape))).astype(np.uint32).view(np.int32).reshape(shape)


def refused(body: Callable[[], object]) -> bool:
    try:
        body()
    except ValueError:
        return True
    return False


def check_words(check: Check) -> None:
    check(
        "pack-quantized 4 bits, -8..-1: 0x76543210", (unpack(signed(0x76543210), 4, 0) - 8).tolist(), list(range(-8, 0))
    )
    check("3 bits by the word: 0x08FAC688", unpack_by_word(signed(0x08FAC688), 3, 0, 10).tolist(), [*range(8), 0, 1])
    check("3 bits by the word, written", pack_by_word(np.arange(10) % 8, 3, 0).tolist(), [0x08FAC688])
    stream = signed(0x88FAC688, 0xC688FAC6, 0xFAC688FA)
    check("3 bits as a stream, written", pack(np.arange(32) % 8, 3, 0).tolist(), stream.tolist())
    check("the last word is padded with zeros", pack(np.full(3, 7), 3, 0).tolist(), [0b111_111_111])


def check_streams(check: Check) -> None:
    """Word by word against Python integers, for every number of bits and both axes."""
    for bits in range(1, 9):
        count = 37
        by_stream_words = random_words(f"stream/{bits}", 2, -(-count * bits // 32))
        by_word_words = random_words(f"word/{bits}", 2, -(-count // (32 // bits)))
        mask = 2**bits - 1
        first, second = [], []
        for row in range(2):
            number = sum((int(word) % 2**32) << (32 * at) for at, word in enumerate(by_stream_words[row]))
            first.append([number >> (bits * i) & mask for i in range(count)])
            each = 32 // bits
            numbers = [int(word) % 2**32 for word in by_word_words[row]]
            second.append([numbers[i // each] >> (bits * (i % each)) & mask for i in range(count)])
        check(f"{bits} bits as a stream", unpack(by_stream_words, bits, 1, count).tolist(), first)
        check(f"{bits} bits as a stream, axis 0", unpack(by_stream_words.T, bits, 0, count).T.tolist(), first)
        check(f"{bits} bits by the word", unpack_by_word(by_word_words, bits, 1, count).tolist(), second)
        check(f"{bits} bits by the word, axis 0", unpack_by_word(by_word_words.T, bits, 0, count).T.tolist(), second)
        codes = np.array(first)
        check(f"{bits} bits, there and back", unpack(pack(codes, bits, 0), bits, 0, 2).tolist(), first)
        check(
            f"{bits} bits by the word, there and back",
            unpack_by_word(pack_by_word(codes, bits, 1), bits, 1, 37).tolist(),
            first,
        )


def check_awq(check: Check) -> None:
    # Nibble i of the word is i, so that output c carries the number of its nibble.
    check("awq 0x76543210", awq_reader.unpack_nibbles(signed(0x76543210)[None]).tolist(), [[0, 4, 1, 5, 2, 6, 3, 7]])
    qweight, qzeros = random_words("awq/codes", 6, 2), random_words("awq/zeros", 2, 2)
    scales = uniform("awq/scales", (2, 16)).astype(np.float32)
    expected = np.empty((16, 6), dtype=np.float32)
    for output, row in itertools.product(range(16), range(6)):
        nibble = [0, 2, 4, 6, 1, 3, 5, 7].index(output % 8)
        code = (int(qweight[row, output // 8]) % 2**32) >> (4 * nibble) & 15
        zero = (int(qzeros[row // 3, output // 8]) % 2**32) >> (4 * nibble) & 15
        expected[output, row] = scales[row // 3, output] * np.float32(code - zero)
    found = awq_reader.dequantise(qweight, qzeros, scales, 3)
    check("awq equals its definition", np.array_equal(found, expected), True)


def check_compressed_tensors(check: Check) -> None:
    check(
        "3 bits, 32 inputs: 3 words are a stream, 4 are not",
        (by_stream(3, 32, 3, ""), by_stream(4, 32, 3, "")),
        (True, False),
    )
    check(
        "3 bits, 16 inputs: the version tells",
        (by_stream(2, 16, 3, "0.17.1"), by_stream(2, 16, 3, "0.18.0")),
        (False, True),
    )
    check("3 bits, 16 inputs, no version is refused", refused(lambda: by_stream(2, 16, 3, "")), True)

    def weights(bits: int) -> dict[str, Any]:
        return {"num_bits": bits, "strategy": "channel", "symmetric": True}

    config = {
        "ignore": ["lm_head", "re:.*layers\\.1\\.mlp"],
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": weights(2)},
            "group_1": {"targets": ["re:.*mlp"], "weights": weights(3)},
            "group_2": {"targets": ["model.layers.0.mlp.up_proj"], "weights": weights(5)},
        },
    }
    names = ["layers.0.self_attn.q_proj", "layers.0.mlp.down_proj", "layers.0.mlp.up_proj", "layers.1.mlp.up_proj"]
    found = [
        scheme_of(config, name) for name in [*(f"model.{name}" for name in names), "lm_head", "model.embed_tokens"]
    ]
    check(
        "name before expression before class; ignore",
        [each and each.bits for each in found],
        [2, 3, 5, None, None, None],
    )
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    group = Scheme(4, True, "group", 2, None)
    check("groups of 2, the last one short", spread(numbers, (2, 5), group, None)[1].tolist(), [3, 3, 4, 4, 5])
    order = np.array([2, 0, 1, 0, 1, 2])
    check("g_idx picks the group", spread(numbers, (2, 6), group, order)[0].tolist(), [2, 0, 1, 0, 1, 2])
    check("g_idx of -1 is none", spread(numbers, (2, 6), group, np.full(6, -1))[0].tolist(), [0, 0, 1, 1, 2, 2])
    block = spread(numbers, (4, 6), Scheme(8, True, "block", None, (2, 2)), None)
    check("blocks of 2 x 2", block[:, 0].tolist() + block[3].tolist(), [0, 0, 3, 3] + [3, 3, 4, 4, 5, 5])
    values = f8_e4m3(np.array([0x38, 0xB8, 0x01, 0x08, 0x7E, 0x77, 0x80], dtype=np.uint8))
    check("F8_E4M3", values.tolist(), [1, -1, 2.0**-9, 2.0**-6, 448, 240, 0])
    check("F8_E4M3 all ones is NaN", np.isnan(f8_e4m3(np.array([0x7F, 0xFF], dtype=np.uint8))).all(), np.True_)
    # Columns 0, 2, 5 and 8, 9 of ten: bits 0, 2, 5 of the first byte, 0, 1 of the second.
    mask = np.array([[0b00100101, 0b00000011]], dtype=np.uint8)
    dense = decompress(np.arange(1.0, 6.0), mask, (1, 10))
    check("bitmask, lowest bit first", dense.tolist(), [[1, 0, 2, 0, 0, 3, 0, 0, 4, 5]])
    check("bitmask with a value too few is refused", refused(lambda: decompress(np.ones(4), mask, (1, 10))), True)


def check_gptq_dynamic(check: Check) -> None:
    config = GptqConfig(
        4, 1, 128, {"-:.*v_proj": {}, "+:.*mlp": {"bits": 8, "group_size": 32}, ".*up_proj": {"bits": 2}}
    )
    found = [config.of(f"model.{name}") for name in ("a.v_proj", "b.mlp.up_proj", "c.up_proj", "d.q_proj")]
    check(
        "dynamic: the first rule decides",
        [each and (each.bits, each.group_size) for each in found],
        [None, (8, 32), (2, 128), (4, 128)],
    )


def check_aqlm(check: Check) -> None:
    for count, in_group, out_group, bits in ((1, 8, 1, 10), (2, 8, 1, 8), (3, 4, 2, 3)):
        outs, ins = 5, 3
        unsigned = counted(f"aqlm/{count}", outs * ins * count).astype(np.int64).reshape(outs, ins, count) % 2**bits
        stored = np.where(unsigned >= 2 ** (bits - 1), unsigned - 2**bits, unsigned).astype(np.int16)
        books = uniform(f"aqlm/books/{count}", (count, 2**bits, out_group, in_group)).astype(np.float32)
        scales = uniform(f"aqlm/scales/{count}", (outs, 1, 1, 1)).astype(np.float32)
        expected = np.empty((outs * out_group, ins * in_group), dtype=np.float32)
        for o, a, i, c in itertools.product(range(outs), range(out_group), range(ins), range(in_group)):
            total = sum((books[m, unsigned[o, i, m], a, c] for m in range(count)), np.float32(0))
            expected[o * out_group + a, i * in_group + c] = scales[o, 0, 0, 0] * total
        title = f"aqlm {count} x {bits}, groups {out_group} x {in_group}"
        check(title, np.array_equal(aqlm_reader.dequantise(stored, books, scales), expected), True)
        turned = aqlm_reader.dequantise(stored.swapaxes(0, 1), books, scales)
        check(f"{title}, inputs first", np.array_equal(turned, expected), True)


def check_spqr(check: Check) -> None:
    word = 0x2AFEB1A23EB1A211
    fields = [word >> (3 * at) & 7 for at in range(18)]
    check("spqr word 0x2AFEB1A23EB1A211", (fields, word >> 54), ([1, 2, *(c % 8 for c in range(16))], 0xAB))
    # Scale of scales 2, of zeros 0.5, zero of scales 0.25, of zeros 1: s = 2 (1 - 0.25), z = 0.5 (2 - 1).
    second = np.array([2, 0.5, 0.25, 1], dtype="<f2").view(np.uint8)
    low = word & (1 << 54) - 1
    rows = np.array([low | int(second[row // 2]) << 54 for row in range(16)], dtype=np.uint64).view(np.int64)
    none = np.zeros(17, dtype=np.int32), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    tile = spqr_reader.dequantise(rows, *none, (16, 16))
    expected = [1.5 * (c % 8 - 0.5) for c in range(16)]
    check("spqr scale and zero", (tile == expected).all(), np.True_)
    rows[3] ^= 1 << 54
    check("spqr, copies of a byte that differ", refused(lambda: spqr_reader.dequantise(rows, *none, (16, 16))), True)
    rows[3] ^= 1 << 54

    def outlier(column: int, value: float) -> int:
        return column | int(np.float16(value).view(np.uint16)) << 16

    # Row 0: column 2; row 1: columns 0 and 15. By sixteens, row 0 has a padded second entry.
    csr = np.array([0, 1] + [3] * 15, dtype=np.int32)
    listed = signed(outlier(2, 4), outlier(0, -1), outlier(15, 0.5))
    ptcsr = np.zeros(32, dtype=np.uint32)
    ptcsr[[0, 1, 17]] = listed.view(np.uint32)
    order = np.arange(15, -1, -1, dtype=np.uint16).view(np.int32)
    want = np.array(tile)
    want[[0, 1, 1], [2, 0, 15]] += np.array([4, -1, 0.5], dtype=np.float32)
    nothing = np.zeros(0, dtype=np.int32)
    first = spqr_reader.dequantise(rows, csr, listed, nothing, (16, 16))
    check("spqr outliers are added, rows one by one", np.array_equal(first, want), True)
    sixteens = spqr_reader.dequantise(rows, np.array([0, 32]), ptcsr.view(np.int32), nothing, (16, 16))
    check("spqr outliers by sixteens", np.array_equal(sixteens, want), True)
    turned = spqr_reader.dequantise(rows, csr, listed, order, (16, 16))
    check("spqr in_perm: column c is input in_perm[c]", np.array_equal(turned, want[:, ::-1]), True)


def check_spqr_rounding(check: Check) -> None:
    """Random tiles against one weight at a time, each operation rounded to float16."""
    shape = (32, 48)
    words = counted("spqr/words", 96).reshape(2, 3, 16) & np.uint64((1 << 54) - 1)
    second = (1 + uniform("spqr/second", (2, 3, 4)) / 2).astype("<f2")
    half = np.float16
    expected = np.empty(shape, dtype=np.float32)
    for i, j in itertools.product(range(2), range(3)):
        for row in range(16):
            words[i, j, row] |= np.uint64(int(second[i, j].view(np.uint8)[row // 2]) << 54)
            word = int(words[i, j, row])
            ss, sz, zs, zz = second[i, j]
            scale = half(ss * half(half(word & 7) - zs))
            zero = half(sz * half(half(word >> 3 & 7) - zz))
            for c in range(16):
                code = half(word >> (6 + 3 * c) & 7)
                expected[16 * i + row, 16 * j + c] = half(scale * half(code - zero))
    found = spqr_reader.dense_part(words.reshape(-1).view(np.int64), shape)
    check("spqr equals its definition in float16", np.array_equal(found.astype(np.float32), expected), True)


def check_mlx(check: Check) -> None:
    for bits in (2, 3, 4, 5, 6, 8):
        rows = random_words(f"mlx/{bits}", 2, bits * 2).view(np.uint32)
        scales, biases = (uniform(f"mlx/{bits}/{part}", (2, 2)).astype(np.float32) for part in ("scales", "biases"))
        numbers = [sum(int(word) << (32 * at) for at, word in enumerate(row)) for row in rows]
        expected = [
            [
                scales[r, i // 32] * np.float32(numbers[r] >> (bits * i) & 2**bits - 1) + biases[r, i // 32]
                for i in range(64)
            ]
            for r in range(2)
        ]
        found = mlx_reader.dequantise(rows, scales, biases, 32, bits)
        check(f"mlx {bits} bits equal their definition", np.array_equal(found, np.array(expected)), True)
    config = {"group_size": 64, "bits": 4, "a": {"bits": 8}, "b": {"group_size": 32, "bits": 4}, "c": False}
    check("mlx settings by path", [mlx_reader.settings_of(config, name) for name in "abd"], [(64, 8), (32, 4), (64, 4)])
    check("mlx: a dense path with scales is refused", refused(lambda: mlx_reader.settings_of(config, "c")), True)


def check_quantised(check: Check) -> None:
    check_words(check)
    check_streams(check)
    check_awq(check)
    check_compressed_tensors(check)
    check_gptq_dynamic(check)
    check_aqlm(check)
    check_spqr(check)
    check_spqr_rounding(check)
    check_mlx(check)
