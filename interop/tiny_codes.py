"""Random quantised linears in the layout of each format: codes, scales and orders come from the counter.

Every function takes a stream of the counter, the module's name and its shape [out, in], and returns its tensors. Scales
are such that weights have about the size of those of the dense checkpoints.
"""

from __future__ import annotations

import math

import numpy as np

from bit_stream import pack, pack_by_word
from counter import uniform, words
from safetensors_reader import f8_e4m3
from tiny_llama import Array, Tensors, stored

Shape = tuple[int, ...]


def codes_of(stream: str, shape: Shape, bits: int) -> Array:
    return (words(stream, math.prod(shape)) % np.uint64(2**bits)).reshape(shape)


def steps(stream: str, shape: Shape, bits: int, inputs: int) -> Array:
    return (1.5 + uniform(stream, shape)) / 2**bits * math.sqrt(3 / inputs)


def input_groups(stream: str, inputs: int, group: int, shuffled: bool) -> Array:
    order = np.argsort(words(stream, inputs)) if shuffled else np.arange(inputs)
    g_idx = np.empty(inputs, dtype=np.int32)
    g_idx[order] = np.arange(inputs) // group
    return g_idx


def gptq(
    stream: str, name: str, shape: Shape, bits: int, group: int, act_order: bool, version: int, symmetric: bool
) -> Tensors:
    outputs, inputs = shape
    groups, top = inputs // group, np.uint64(2**bits)
    zeros = np.full((groups, outputs), 2 ** (bits - 1), dtype=np.uint64)
    if not symmetric:  # 1..2^bits - 1: version 1 cannot hold 0
        zeros = words(f"{stream}.zeros", groups * outputs).reshape(groups, outputs) % (top - np.uint64(1))
        zeros = zeros + np.uint64(1)
    return {
        f"{name}.qweight": ("I32", pack(codes_of(f"{stream}.codes", (inputs, outputs), bits), bits, 0)),
        f"{name}.qzeros": ("I32", pack(zeros - np.uint64(2 - version), bits, 1)),
        f"{name}.scales": ("F16", steps(f"{stream}.scales", (groups, outputs), bits, inputs).astype(np.float16)),
        f"{name}.g_idx": ("I32", input_groups(f"{stream}.order", inputs, group, act_order)),
    }


def awq(stream: str, name: str, shape: Shape, group: int) -> Tensors:
    outputs, inputs = shape
    groups = inputs // group

    def nibbles(part: str, rows: int) -> Array:
        return pack(codes_of(f"{stream}.{part}", (rows, outputs), 4).reshape(rows, -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
                    .reshape(rows, outputs), 4, 1)  # fmt: skip

    return {
        f"{name}.qweight": ("I32", nibbles("codes", inputs)),
        f"{name}.qzeros": ("I32", nibbles("zeros", groups)),
        f"{name}.scales": ("F16", steps(f"{stream}.scales", (groups, outputs), 4, inputs)),
    }


def packed_integers(
    stream: str,
    name: str,
    shape: Shape,
    bits: int,
    group: int | None,
    zeros: str | None = None,
    by_word: bool = False,
    act_order: bool = False,
) -> Tensors:
    """pack-quantized of compressed-tensors. `group` -1 is the channel, None the tensor; `zeros` None, I32 or I8."""
    outputs, inputs = shape
    writer = pack_by_word if by_word else pack
    groups = (1,) if group is None else (outputs, 1 if group == -1 else inputs // group)
    tensors: Tensors = {
        f"{name}.weight_packed": ("I32", writer(codes_of(f"{stream}.codes", shape, bits), bits, 1)),
        f"{name}.weight_scale": stored(steps(f"{stream}.scales", groups, bits, inputs), "BF16"),
        f"{name}.weight_shape": ("I64", np.array(shape)),
    }
    if zeros:
        points = codes_of(f"{stream}.zeros", groups, bits)
        signed = points.astype(np.int64) - 2 ** (bits - 1)
        tensors[f"{name}.weight_zero_point"] = ("I8", signed) if zeros == "I8" else ("I32", writer(points, bits, 0))
    if act_order and group is not None:
        tensors[f"{name}.weight_g_idx"] = ("I32", input_groups(f"{stream}.order", inputs, group, True))
    return tensors


def plain_integers(stream: str, name: str, shape: Shape) -> Tensors:
    """int-quantized, a scale for each output."""
    codes = codes_of(f"{stream}.codes", shape, 8).astype(np.int64) - 128
    scale = steps(f"{stream}.scales", (shape[0], 1), 8, shape[1])
    return {f"{name}.weight": ("I8", codes), f"{name}.weight_scale": stored(scale, "BF16")}


def eight_bit_floats(values: Array, scale: Array) -> Array:
    """Bytes of F8_E4M3 next to values / scale."""
    grid = f8_e4m3(np.arange(256, dtype=np.uint8)).astype(np.float64)
    return np.nanargmin(abs(grid - (values / scale)[..., None]), axis=-1).astype(np.uint8)


def plain_floats(stream: str, name: str, shape: Shape) -> Tensors:
    """float-quantized, a scale for each output."""
    scale = steps(f"{stream}.scales", (shape[0], 1), 8, shape[1])
    codes = eight_bit_floats(uniform(f"{stream}.codes", shape) * math.sqrt(3 / shape[1]), scale)
    return {f"{name}.weight": ("F8_E4M3", codes), f"{name}.weight_scale": stored(scale, "BF16")}


def two_of_four(stream: str, name: str, shape: Shape, floats: bool = False) -> Tensors:
    """sparse-24-bitmask of bfloat16, or of F8_E4M3 with scales. The first value kept in each row is 0."""
    order = np.argsort(words(f"{stream}.order", math.prod(shape)).reshape(-1, 4), axis=1)
    kept = (order < 2).reshape(shape)
    values = uniform(f"{stream}.values", shape)[kept].reshape(shape[0], -1) * math.sqrt(6 / shape[1])
    values[:, 0] = 0
    tensors: Tensors = {
        f"{name}.compressed": stored(values, "BF16"),
        f"{name}.bitmask": ("U8", np.packbits(kept, axis=1, bitorder="little")),
        f"{name}.shape": ("I64", np.array(shape)[:, None]),
    }
    if floats:
        scale = steps(f"{stream}.scales", (shape[0], 1), 8, shape[1])
        tensors[f"{name}.compressed"] = ("F8_E4M3", eight_bit_floats(values, scale))
        tensors[f"{name}.weight_scale"] = stored(scale, "BF16")
    return tensors


def any_pattern(stream: str, name: str, shape: Shape) -> Tensors:
    """sparse-bitmask of bfloat16, two fifths of the weights; row 1 is all zeros."""
    kept = uniform(f"{stream}.order", shape) < -0.2
    kept[1] = False
    counts = kept.sum(axis=1)
    values = uniform(f"{stream}.values", shape)[kept] * math.sqrt(6 / shape[1])
    return {
        f"{name}.compressed": stored(values, "BF16"),
        f"{name}.bitmask": ("U8", np.packbits(kept, axis=1, bitorder="little")),
        f"{name}.row_offsets": ("I64", np.concatenate([[0], counts.cumsum()[:-1]])),
        f"{name}.shape": ("I64", np.array(shape)),
    }


def aqlm(stream: str, name: str, shape: Shape, books: int, bits: int, inputs_first: bool = False) -> Tensors:
    """Groups of 8 inputs of one output."""
    unsigned = codes_of(f"{stream}.codes", (shape[0], shape[1] // 8, books), bits).astype(np.int64)
    signed = np.where(unsigned >= 2 ** (bits - 1), unsigned - 2**bits, unsigned)
    size = math.sqrt(3 / shape[1] / books)
    return {
        f"{name}.codes": ("I8" if bits <= 8 else "I16", signed.swapaxes(0, 1) if inputs_first else signed),
        f"{name}.codebooks": ("F16", uniform(f"{stream}.codebooks", (books, 2**bits, 1, 8)) * size),
        f"{name}.scales": ("F16", 1 + uniform(f"{stream}.scales", (shape[0], 1, 1, 1)) / 2),
    }


def spqr(stream: str, name: str, shape: Shape, sixteens: bool, shuffled: bool) -> Tensors:
    """0 to 3 outliers in a row. `sixteens`: their entries take turns in 16 rows."""
    down, across = shape[0] // 16, shape[1] // 16
    fields = codes_of(f"{stream}.codes", (down, across, 16, 18), 3)
    near = 1 + uniform(f"{stream}.second", (down, across, 4)) / 4
    second = (near * [0.06 / math.sqrt(shape[1]), 0.5, -1.5, -3.5]).astype("<f2").view(np.uint8)
    dense = (fields << (3 * np.arange(18, dtype=np.uint64))).sum(axis=-1, dtype=np.uint64)
    dense |= np.repeat(second, 2, axis=-1).astype(np.uint64) << np.uint64(54)
    counts = (words(f"{stream}.counts", shape[0]) % np.uint64(4)).astype(np.int64)
    columns = np.argsort(words(f"{stream}.columns", math.prod(shape)).reshape(shape), axis=1)
    values = uniform(f"{stream}.outliers", shape).astype(np.float16).view(np.uint16)
    entries = columns.astype(np.uint32) | values.astype(np.uint32) << 16
    if sixteens:
        longest = counts.reshape(-1, 16).max(axis=1)
        offsets = np.concatenate([[0], (16 * longest).cumsum()])
        taken = np.where(np.arange(shape[1]) < counts[:, None], entries, 0).reshape(down, 16, -1)
        listed = [taken[row, :, : longest[row]].T.ravel() for row in range(down)]
    else:
        offsets = np.concatenate([[0], counts.cumsum()])
        listed = [entries[row, : counts[row]] for row in range(shape[0])]
    order = np.argsort(words(f"{stream}.order", shape[1])).astype("<u2").view("<i4")
    return {
        f"{name}.dense_weights": ("I64", dense.ravel().view(np.int64)),
        f"{name}.row_offsets": ("I32", offsets),
        f"{name}.col_vals": ("I32", np.concatenate(listed).view(np.int32)),
        f"{name}.in_perm": ("I32", order if shuffled else order[:0]),
    }


def mlx(stream: str, name: str, shape: Shape, bits: int, group: int, dtype: str) -> Tensors:
    outputs, inputs = shape
    scales = steps(f"{stream}.scales", (outputs, inputs // group), bits, inputs)
    biases = -scales * 2 ** (bits - 1) * (1 + uniform(f"{stream}.biases", scales.shape) / 4)
    return {
        f"{name}.weight": ("U32", pack(codes_of(f"{stream}.codes", shape, bits), bits, 1).view(np.uint32)),
        f"{name}.scales": stored(scales, dtype),
        f"{name}.biases": stored(biases, dtype),
    }
