"""Tiny random checkpoints of the llama family in every quantised format that the oracle reads, a folder each.

Layers are as small as their format allows; tiny_codes.py makes the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from llama_forward import LINEARS
from safetensors_reader import write_safetensors
from tiny_codes import (
    Shape, any_pattern, aqlm, awq, gptq, mlx, packed_integers, plain_floats, plain_integers, spqr, two_of_four,
)  # fmt: skip
from tiny_llama import DTYPES, Tensors, config, expected, shapes, stored, weight

Linear = Callable[[str, str, Shape], Tensors]


@dataclass(frozen=True)
class Checkpoint:
    settings: dict[str, Any]  # of the quantisation, as config.json states them
    linear: Linear  # tensors of a module: stream, name, shape
    dtype: str = "bfloat16"
    stated: dict[str, Any] = field(default_factory=dict)  # of the model
    apart: dict[str, Linear | None] = field(default_factory=dict)  # modules by the end of their name; None: dense
    embedding: bool = False  # whether embeddings and head are quantised too


def gptq_settings(bits: int, group: int, act_order: bool, symmetric: bool, layout: str, **rest: Any) -> dict[str, Any]:
    return {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order, "sym": symmetric,
        "checkpoint_format": layout, "lm_head": False, "pack_dtype": "int32",
    } | rest  # fmt: skip


def scheme(bits: int, group: int | None, symmetric: bool = True, kind: str = "int", **rest: Any) -> dict[str, Any]:
    """Settings of one group of modules: `group` -1 is the channel, None the tensor."""
    strategy = "tensor" if group is None else "channel" if group == -1 else "group"
    return {
        "num_bits": bits, "type": kind, "symmetric": symmetric, "strategy": strategy,
        "group_size": None if group == -1 else group, "dynamic": False, "actorder": None, "block_structure": None,
        "observer": "minmax", "observer_kwargs": {},
    } | rest  # fmt: skip


def compressed(
    form: str, version: str, *groups: tuple[list[str], dict[str, Any]], ignore: list[str] | None = None, **rest: Any
) -> dict[str, Any]:
    """Settings of compressed-tensors: the form, the library's version, and targets with their weights' settings."""
    return {
        "quant_method": "compressed-tensors", "version": version, "format": form, "quantization_status": "compressed",
        "global_compression_ratio": None, "ignore": ignore or ["lm_head"], "kv_cache_scheme": None,
        "config_groups": {
            f"group_{at}": {
                "targets": targets, "weights": weights, "input_activations": None, "output_activations": None,
            } for at, (targets, weights) in enumerate(groups)
        },
    } | rest  # fmt: skip


def sparse(form: str, sparsity: float, structure: str) -> dict[str, Any]:
    return {
        "format": form, "global_sparsity": sparsity, "sparsity_structure": structure, "targets": ["Linear"],
        "ignore": ["lm_head"],
    }  # fmt: skip


def aqlm_settings(books: int, bits: int, *left: str) -> dict[str, Any]:
    """`left` are modules: transformers 4 asks for the names of their weights, 5 for their own, tied or not."""
    return {
        "quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": books,
        "nbits_per_codebook": bits, "linear_weights_not_to_quantize": [*(f"{name}.weight" for name in left), *left],
    }  # fmt: skip


def mlx_settings(bits: int, group: int, **apart: Any) -> dict[str, Any]:
    return {"group_size": group, "bits": bits, "mode": "affine"} | apart


ALL, PACKED = ["Linear"], "pack-quantized"
SPQR = {"quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16, "modules_to_not_convert": ["lm_head"]}
WIDE = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
UNTIED = {"tie_word_embeddings": False}
FIRST = "model.layers.0"

CHECKPOINTS: dict[str, Checkpoint] = {
    "llama-gptq-4": Checkpoint(
        gptq_settings(4, 16, True, False, "gptq"),
        partial(gptq, bits=4, group=16, act_order=True, version=1, symmetric=False),
    ),
    "llama-gptq-3": Checkpoint(
        gptq_settings(3, 32, False, True, "gptq_v2"),
        partial(gptq, bits=3, group=32, act_order=False, version=2, symmetric=True),
        stated={"num_key_value_heads": 4},
    ),
    "gptq-dynamic": Checkpoint(
        gptq_settings(4, 16, False, True, "gptq", dynamic={
            "-:.*\\.self_attn\\.v_proj": {},
            "+:.*\\.mlp\\.down_proj": {"bits": 8, "group_size": 32},
            ".*\\.mlp\\.": {"bits": 2},
        }),
        partial(gptq, bits=4, group=16, act_order=False, version=1, symmetric=True),
        apart={
            "v_proj": None,
            "down_proj": partial(gptq, bits=8, group=32, act_order=False, version=1, symmetric=True),
            "gate_proj": partial(gptq, bits=2, group=16, act_order=False, version=1, symmetric=True),
            "up_proj": partial(gptq, bits=2, group=16, act_order=False, version=1, symmetric=True),
        },
    ),
    "awq": Checkpoint(
        {
            "quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm",
            "modules_to_not_convert": ["v_proj"],
        },
        partial(awq, group=32), dtype="float16", stated=WIDE, apart={"v_proj": None},
    ),
    "ct-group-4": Checkpoint(
        compressed(PACKED, "0.10.0", (ALL, scheme(4, 16))), partial(packed_integers, bits=4, group=16)
    ),
    "ct-group-4-zeros": Checkpoint(
        compressed(PACKED, "0.10.0", (ALL, scheme(4, 16, False))),
        partial(packed_integers, bits=4, group=16, zeros="I32"),
    ),
    "ct-group-4-int8-zeros": Checkpoint(
        compressed(PACKED, "0.9.1", (ALL, scheme(4, 16, False))),
        partial(packed_integers, bits=4, group=16, zeros="I8"),
    ),
    "ct-group-3-old": Checkpoint(
        compressed(PACKED, "0.17.1", (ALL, scheme(3, 16, False))),
        partial(packed_integers, bits=3, group=16, zeros="I32", by_word=True),
    ),
    "ct-group-3": Checkpoint(
        compressed(PACKED, "0.18.0", (ALL, scheme(3, 16, False))),
        partial(packed_integers, bits=3, group=16, zeros="I32"),
    ),
    "ct-channel-8": Checkpoint(
        compressed(PACKED, "0.10.0", (ALL, scheme(8, -1))), partial(packed_integers, bits=8, group=-1)
    ),
    "ct-tensor-4": Checkpoint(
        compressed(PACKED, "0.10.0", (ALL, scheme(4, None, False))),
        partial(packed_integers, bits=4, group=None, zeros="I8"),
    ),
    "ct-actorder": Checkpoint(
        compressed(PACKED, "0.10.0", (ALL, scheme(4, 8, False, actorder="group"))),
        partial(packed_integers, bits=4, group=8, zeros="I32", act_order=True),
    ),
    "ct-two-groups": Checkpoint(
        compressed(
            PACKED, "0.10.0",
            (["re:.*self_attn\\..*", f"{FIRST}.mlp.up_proj"], scheme(2, 8)), (ALL, scheme(8, -1)),
            ignore=["lm_head", "re:.*\\.v_proj$"],
        ),
        partial(packed_integers, bits=8, group=-1), stated=UNTIED,
        apart={
            "v_proj": None,
            "self_attn.q_proj": partial(packed_integers, bits=2, group=8),
            "self_attn.k_proj": partial(packed_integers, bits=2, group=8),
            "self_attn.o_proj": partial(packed_integers, bits=2, group=8),
            "up_proj": partial(packed_integers, bits=2, group=8),
        },
    ),
    "ct-int8": Checkpoint(compressed("int-quantized", "0.10.0", (ALL, scheme(8, -1))), plain_integers),
    "ct-float8": Checkpoint(
        compressed("float-quantized", "0.10.0", (ALL, scheme(8, -1, kind="float"))), plain_floats
    ),
    "ct-sparse-24": Checkpoint(
        compressed("dense", "0.10.0", sparsity_config=sparse("sparse-24-bitmask", 0.5, "2:4")), two_of_four
    ),
    "ct-sparse-24-float8": Checkpoint(
        compressed(
            "float-quantized", "0.10.0", (ALL, scheme(8, -1, kind="float")),
            sparsity_config=sparse("sparse-24-bitmask", 0.5, "2:4"),
        ),
        partial(two_of_four, floats=True),
    ),
    "ct-sparse-bitmask": Checkpoint(
        compressed("dense", "0.9.2", sparsity_config=sparse("sparse-bitmask", 0.6, "unstructured")), any_pattern
    ),
    "aqlm-2x8": Checkpoint(aqlm_settings(2, 8, "lm_head"), partial(aqlm, books=2, bits=8), dtype="float16"),
    "aqlm-2x8-inputs-first": Checkpoint(
        aqlm_settings(2, 8, "lm_head"), partial(aqlm, books=2, bits=8, inputs_first=True), dtype="float16"
    ),
    "aqlm-1x10": Checkpoint(
        aqlm_settings(1, 10, f"{FIRST}.self_attn.o_proj", "lm_head"), partial(aqlm, books=1, bits=10),
        dtype="float16", stated=UNTIED, apart={"o_proj": None},
    ),
    "spqr-csr": Checkpoint(SPQR, partial(spqr, sixteens=False, shuffled=False), dtype="float16"),
    "spqr-ptcsr": Checkpoint(SPQR, partial(spqr, sixteens=True, shuffled=True), dtype="float16"),
    "mlx-4-f16": Checkpoint(
        mlx_settings(4, 64), partial(mlx, bits=4, group=64, dtype="F16"), "float16", WIDE, embedding=True
    ),
    "mlx-4-bf16": Checkpoint(mlx_settings(4, 32), partial(mlx, bits=4, group=32, dtype="BF16"), embedding=True),
    **{
        f"mlx-{bits}": Checkpoint(
            mlx_settings(bits, 32), partial(mlx, bits=bits, group=32, dtype="F16"), "float16", embedding=True
        )
        for bits in (2, 3, 5, 6, 8)
    },
    "mlx-overrides": Checkpoint(
        mlx_settings(4, 64, **{
            "model.embed_tokens": {"group_size": 32, "bits": 8},
            f"{FIRST}.self_attn.v_proj": False,
            f"{FIRST}.mlp.down_proj": {"group_size": 32, "bits": 6},
            "lm_head": {"group_size": 64, "bits": 3},
        }),
        partial(mlx, bits=4, group=64, dtype="F32"), "float32", WIDE | UNTIED, embedding=True,
        apart={
            "embed_tokens": partial(mlx, bits=8, group=32, dtype="F32"),
            "v_proj": None,
            "down_proj": partial(mlx, bits=6, group=32, dtype="F32"),
            "lm_head": partial(mlx, bits=3, group=64, dtype="F32"),
        },
    ),
}  # fmt: skip


def tensors_of(model: str, checkpoint: Checkpoint, stated: dict[str, Any]) -> Tensors:
    tensors: Tensors = {}
    for name, shape in shapes(stated).items():
        module = name.removesuffix(".weight")
        linear = module.split(".", 3)[-1] in LINEARS or (checkpoint.embedding and len(shape) == 2)
        ends = [end for end in checkpoint.apart if module.endswith(end)]
        own = checkpoint.apart[ends[0]] if ends else checkpoint.linear
        if linear and own:
            tensors |= own(f"{model}/{module}", module, shape)
        else:
            tensors[name] = stored(weight(model, name, shape), DTYPES[stated["torch_dtype"]])
    return tensors


def write_quantised_folder(folder: Path, model: str) -> None:
    checkpoint = CHECKPOINTS[model]
    stated = config("llama", 1, heads=4, kv_heads=2, torch_dtype=checkpoint.dtype) | checkpoint.stated
    tensors, settings = tensors_of(model, checkpoint, stated), dict(checkpoint.settings)
    if settings.get("quant_method") == "spqr":
        parts = ("dense_weights", "row_offsets", "col_vals", "in_perm")
        settings["shapes"] = {
            f"{name}.shape": array.size for name, (_, array) in tensors.items() if name.endswith(parts)
        }
    is_mlx = "quant_method" not in settings
    if is_mlx:  # both, as mlx-lm writes
        stated["quantization"] = settings
    stated["quantization_config"] = settings
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    write_safetensors(folder / "model.safetensors", tensors, {"format": "mlx" if is_mlx else "pt"})
    (folder / "expected.json").write_text(expected(folder, model))


def write_quantised_folders(folder: Path) -> None:
    for model in CHECKPOINTS:
        write_quantised_folder(folder / model, model)
