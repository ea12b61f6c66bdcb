"""Weights of quantised folders as the library of each format unpacks them, layer by layer, in float32 where it can.

A function a method: it takes the tensors of the folder and config.json, and returns dense weights [out, in] by module.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

import torch

Weights = dict[str, torch.Tensor]
SUFFIXES = re.compile(
    r"\.(weight_(packed|scale|zero_point|shape|g_idx)|compressed|bitmask|row_offsets|shape|weight"
    r"|qweight|qzeros|scales|g_idx|codes|codebooks|dense_weights|col_vals|in_perm)$"
)


def modules_of(tensors: Weights, suffix: str) -> list[str]:
    return [name.removesuffix(f".{suffix}") for name in tensors if name.endswith(f".{suffix}")]


def parts_of(tensors: Weights, module: str) -> Weights:
    return {
        name.removeprefix(f"{module}."): tensor
        for name, tensor in tensors.items()
        if SUFFIXES.sub("", name) == module
    }


def float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


# compressed-tensors. Up to 0.14 compressors are objects that know sparse layouts too; from 0.15 on they are classes.


def schemes(stated: dict[str, Any]) -> dict[str, Any]:
    """The scheme of each module, as the library itself matches targets and what is ignored."""
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from transformers import AutoConfig, AutoModelForCausalLM

    dense = {name: value for name, value in stated.items() if name != "quantization_config"}
    config = AutoConfig.for_model(**dense)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    settings = {
        name: value
        for name, value in stated["quantization_config"].items()
        if name in ("config_groups", "format", "ignore", "kv_cache_scheme", "quantization_status")
    }
    # A status above this would make the library initialise tensors.
    settings["quantization_status"] = "initialized"
    apply_quantization_config(model, QuantizationConfig.model_validate(settings))
    named = dict(model.named_modules())
    return {name: module.quantization_scheme for name, module in named.items() if hasattr(module, "quantization_scheme")}


def library_version() -> tuple[int, ...]:
    return tuple(map(int, version("compressed-tensors").split(".")[:2]))


def versions_that_read(tensors: Weights, settings: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first version of compressed-tensors that reads a folder, and the first one that does not any more."""
    groups = [group["weights"] for group in settings.get("config_groups", {}).values()]
    lowest, end = (0, 9), (99, 0)
    if (settings.get("sparsity_config") or {}).get("format", "dense") != "dense":
        end = min(end, (0, 15))
    if any(group.get("actorder") == "group" for group in groups):
        lowest, end = max(lowest, (0, 13)), min(end, (0, 19))
    if any(group["num_bits"] in (3, 5, 6, 7) for group in groups):
        old = tuple(map(int, settings["version"].split(".")[:2])) < (0, 18)
        lowest, end = (lowest, min(end, (0, 18))) if old else ((0, 18), end)
    zeros = [part.dtype for name, part in tensors.items() if name.endswith("zero_point")]
    if torch.int32 in zeros:
        lowest = max(lowest, (0, 13))
    elif zeros and any(group["strategy"] in ("group", "channel") for group in groups):
        end = min(end, (0, 10))
    return lowest, end


def compressed_tensors(tensors: Weights, stated: dict[str, Any]) -> Weights:
    settings = stated["quantization_config"]
    by_class = library_version() >= (0, 15)
    sparsity = (settings.get("sparsity_config") or {}).get("format", "dense")
    layers = schemes(stated) if settings.get("config_groups") else {}
    found: Weights = {}
    for module in {SUFFIXES.sub("", name) for name in tensors if re.search(r"weight_scale|compressed$", name)}:
        parts = {name: float32(part) for name, part in parts_of(tensors, module).items()}
        if sparsity != "dense":
            parts["weight"] = sparse(sparsity, {n: parts.pop(n) for n in list(parts) if n in SPARSE_PARTS})
        if module in layers:
            scheme = layers[module]
            form = getattr(scheme, "format", None) or settings["format"]
            parts["weight"] = decompressed(form, parts, scheme, by_class)
        found[module] = parts["weight"].float()
    return found


SPARSE_PARTS = ("compressed", "bitmask", "row_offsets", "shape")


def sparse(form: str, parts: Weights) -> torch.Tensor:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.config import BitmaskConfig, Sparse24BitMaskConfig

    config = BitmaskConfig if form == "sparse-bitmask" else Sparse24BitMaskConfig
    if form == "sparse-bitmask":
        parts["shape"] = parts["shape"].tolist()
    return BaseCompressor.load_from_registry(form, config=config()).decompress_weight(parts)


def decompressed(form: str, parts: Weights, scheme: Any, by_class: bool) -> torch.Tensor:
    from compressed_tensors.compressors import BaseCompressor

    if by_class:
        return BaseCompressor.get_value_from_registry(form).decompress(parts, scheme)["weight"]
    compressor = BaseCompressor.load_from_registry(form, config=None)
    return compressor.decompress_weight(parts, quantization_args=scheme.weights)


def gptq(tensors: Weights, stated: dict[str, Any]) -> Weights:
    """GPTQModel's plain kernel, with scales in float32; settings of modules as its `dynamic_get` finds them."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import FORMAT, dynamic_get
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

    settings = stated["quantization_config"]
    dynamic = settings.get("dynamic")
    found: Weights = {}
    for module in modules_of(tensors, "qweight"):
        of = lambda field: dynamic_get(dynamic, module, field, settings[field])  # noqa: E731
        bits, group = of("bits"), of("group_size")
        parts = parts_of(tensors, module)
        inputs, outputs = len(parts["g_idx"]), parts["qweight"].shape[1]
        layer = TorchLinear(
            bits=bits, group_size=group, sym=of("sym"), desc_act=of("desc_act"), in_features=inputs, out_features=outputs,
            pack_dtype=torch.int32, format=FORMAT(settings["checkpoint_format"]),
        )  # fmt: skip
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            setattr(layer, part, float32(parts[part].clone()))
        if settings["checkpoint_format"] == "gptq":
            convert_gptq_v1_to_v2_format_module(layer, bits=bits, pack_dtype=torch.int32)
        layer.post_init()
        found[module] = layer.eval().dequantize_weight().T.float()
    return found


def awq(tensors: Weights, stated: dict[str, Any]) -> Weights:
    """AutoAWQ's unpacking, as GPTQModel carries it on."""
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    settings = stated["quantization_config"]
    found: Weights = {}
    for module in modules_of(tensors, "qweight"):
        parts = parts_of(tensors, module)
        group = settings["group_size"] if settings["group_size"] > 0 else len(parts["qweight"])
        dense = dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].float(), settings["bits"], group)
        found[module] = dense.T
    return found


def aqlm(tensors: Weights, stated: dict[str, Any]) -> Weights:
    from aqlm.utils import _dequantize_weight, unpack_int_data

    settings = stated["quantization_config"]
    found: Weights = {}
    for module in modules_of(tensors, "codes"):
        parts = parts_of(tensors, module)
        codes = parts["codes"]
        # The order that QuantizedLinear gives them before its first product on a CPU.
        if len(codes) != len(parts["scales"]):
            codes = codes.permute(1, 0, 2).contiguous()
        indices = unpack_int_data(codes, settings["nbits_per_codebook"])
        found[module] = _dequantize_weight(indices, parts["codebooks"].float(), parts["scales"].float())
    return found


def spqr(tensors: Weights, stated: dict[str, Any]) -> Weights:
    """The reference decoder on the host, in float16; columns are put back into the order of the inputs."""
    from checkpoint_weights import linear_shape
    from spqr_host import dequantize

    found: Weights = {}
    for module in modules_of(tensors, "dense_weights"):
        parts = parts_of(tensors, module)
        dense = dequantize(*linear_shape(stated, module), parts)
        words = parts["in_perm"]
        if words.numel():
            order = torch.stack((words & 0xFFFF, (words >> 16) & 0xFFFF), dim=1).flatten().long()
            dense[:, order] = dense.clone()
        found[module] = dense.float()
    return found


READERS = {"compressed-tensors": compressed_tensors, "gptq": gptq, "awq": awq, "aqlm": aqlm, "spqr": spqr}
