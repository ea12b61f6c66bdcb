"""Writes the ONNX files that tests read, with the onnx package: write_fixtures.py FOLDER [--check]

--check writes nothing and exits 1 where a file in FOLDER differs. The files are made field by field where helpers of onnx
would choose the form: numbers one by one, external data, sparse tensors, functions of the model's own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import (
    FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, checker,
    helper, numpy_helper,
)  # fmt: skip

# Type, word of Pare, elements as whole numbers, bytes of one, and the field for numbers one by one.
TYPES = [
    (TensorProto.UINT8, "U8", [0, 1, 255], 1, "int32_data"),
    (TensorProto.INT8, "I8", [-128, -1, 127], 1, "int32_data"),
    (TensorProto.UINT16, "U16", [0, 1, 65535], 2, "int32_data"),
    (TensorProto.INT16, "I16", [-32768, -1, 32767], 2, "int32_data"),
    (TensorProto.INT32, "I32", [-(2**31), -1, 2**31 - 1], 4, "int32_data"),
    (TensorProto.INT64, "I64", [-(2**63), -1, 2**53 + 1], 8, "int64_data"),
    (TensorProto.BOOL, "BOOL", [0, 1, 1], 1, "int32_data"),
    (TensorProto.FLOAT16, "F16", [0x3C00, 0xBC00, 0x7BFF], 2, "int32_data"),
    (TensorProto.BFLOAT16, "BF16", [0x3F80, 0xBF80, 0x7F7F], 2, "int32_data"),
    (TensorProto.UINT32, "U32", [0, 1, 2**32 - 1], 4, "uint64_data"),
    (TensorProto.UINT64, "U64", [0, 2**53 + 1, 2**64 - 1], 8, "uint64_data"),
    (TensorProto.FLOAT8E4M3FN, "F8_E4M3", [0, 0x38, 0xB8], 1, "int32_data"),
    (TensorProto.FLOAT8E5M2, "F8_E5M2", [0, 0x3C, 0xBC], 1, "int32_data"),
]  # fmt: skip


def tensor(name: str, kind: int, shape: list[int], **fields: object) -> TensorProto:
    made = TensorProto(name=name, data_type=kind, dims=shape)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(made, field).extend(value)
        else:
            setattr(made, field, value)
    return made


def floats(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def raw_of(values: list[int], size: int) -> bytes:
    return b"".join((value % 2 ** (8 * size)).to_bytes(size, "little") for value in values)


def kinds() -> tuple[ModelProto, dict[str, list[object]]]:
    """Every type of tensor, in both forms, and where else tensors can stand."""
    initializers: list[TensorProto] = []
    expected: dict[str, list[object]] = {}

    def add(made: TensorProto, word: str, raw: bytes) -> None:
        initializers.append(made)
        expected[made.name] = [word, list(made.dims), raw.hex()]

    for kind, word, values, size, field in TYPES:
        raw = raw_of(values, size)
        add(tensor(f"raw.{word}", kind, [3], raw_data=raw), word, raw)
        add(tensor(f"numbers.{word}", kind, [3], **{field: values}), word, raw)
    wide = np.array([1.5, -0.25], np.float32)
    add(tensor("raw.F32", TensorProto.FLOAT, [1, 2], raw_data=wide.tobytes()), "F32", wide.tobytes())
    add(tensor("numbers.F32", TensorProto.FLOAT, [1, 2], float_data=[1.5, -0.25]), "F32", wide.tobytes())
    double = np.array([1.5, -0.25], np.float64)
    add(tensor("numbers.F64", TensorProto.DOUBLE, [2], double_data=[1.5, -0.25]), "F64", double.tobytes())
    add(tensor("numbers.C64", TensorProto.COMPLEX64, [1], float_data=[1.5, -0.25]), "C64", wide.tobytes())
    add(tensor("numbers.C128", TensorProto.COMPLEX128, [1], double_data=[1.5, -0.25]), "C128", double.tobytes())
    # Codes 0, 1, 2, 3, 4: two in a byte, the first in the low half.
    add(tensor("raw.U4", TensorProto.UINT4, [5], raw_data=b"\x10\x32\x04"), "U4", b"\x10\x32\x04")
    add(tensor("numbers.U4", TensorProto.UINT4, [5], int32_data=[0x10, 0x32, 0x04]), "U4", b"\x10\x32\x04")
    add(tensor("raw.I4", TensorProto.INT4, [2, 2], raw_data=b"\x1f\x87"), "I4", b"\x1f\x87")
    add(tensor("scalar", TensorProto.FLOAT, [], float_data=[2.0]), "F32", np.float32(2).tobytes())
    add(tensor("empty", TensorProto.FLOAT, [0, 3]), "F32", b"")
    texts = tensor("texts", TensorProto.STRING, [2], string_data=[b"ab", b"c"])
    initializers.append(texts)
    sparse = SparseTensorProto(
        values=tensor("sparse", TensorProto.FLOAT, [1], float_data=[3.0]),
        indices=tensor("", TensorProto.INT64, [1], int64_data=[4]),
        dims=[6],
    )
    expected["sparse.values"] = ["F32", [1], np.float32(3).tobytes().hex()]
    expected["sparse.indices"] = ["I64", [1], np.int64(4).tobytes().hex()]

    def branch(name: str, value: float) -> GraphProto:
        inner = floats("inner", np.array([value]))
        return helper.make_graph(
            [helper.make_node("Add", ["x", "inner"], [f"{name}.out"])], name, [],
            [helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)], [inner],
        )  # fmt: skip

    for name, value in (("then", 1.0), ("else", 2.0)):
        expected[f"choice.{name}_branch/inner"] = ["F32", [1], np.float32(value).tobytes().hex()]
    constant = floats("", np.array([[1.0, 2.0]]))
    expected["held"] = ["F32", [1, 2], constant.raw_data.hex()]
    expected["own.Twice/two"] = ["F32", [], np.float32(2).tobytes().hex()]
    nodes = [
        helper.make_node("Constant", [], ["held"], value=constant),
        helper.make_node("If", ["condition"], ["chosen"], name="choice", then_branch=branch("then", 1), else_branch=branch("else", 2)),
        helper.make_node("Twice", ["chosen"], ["y"], domain="own"),
        helper.make_node(
            "Attributes", ["x"], ["z"], domain="own", i=-3, f=0.5, s="text", ints=[1, -(2**40)], floats=[0.5, -2.0], strings=["a", ""],
        ),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "kinds",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, None]),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None),
        ],
        initializers, value_info=[helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [None])],
    )  # fmt: skip
    graph.sparse_initializer.append(sparse)
    function = FunctionProto(name="Twice", domain="own", input=["a"], output=["b"])
    function.opset_import.append(helper.make_opsetid("", 21))
    function.node.append(helper.make_node("Constant", [], ["two"], value=floats("", np.array(2.0))))
    function.node.append(helper.make_node("Mul", ["a", "two"], ["b"]))
    model = helper.make_model(graph, producer_name="onnx", ir_version=10, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("own", 1)])
    model.functions.append(function)
    helper.set_model_props(model, {"author": "nobody", "note": "two\nlines"})
    return model, expected


def weights(seed: int, shape: list[int]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def products() -> ModelProto:
    """Products of all kinds with constants: shared, in a constant node, in a graph inside of a node, kept for another use."""
    value = helper.make_tensor_value_info
    w40 = weights(1, [40, 12])
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["x", "shared"], ["t0"], name="inner/shared"), helper.make_node("MatMul", ["x", "deep"], ["t1"], name="inner/deep"),
         helper.make_node("Add", ["t0", "t1"], ["then.out"])],
        "then", [], [value("then.out", TensorProto.FLOAT, ["rows", "columns"])], [floats("deep", weights(2, [40, 12]))],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Identity", ["m0"], ["else.out"])], "else", [], [value("else.out", TensorProto.FLOAT, ["rows", "columns"])]
    )
    nodes: list[NodeProto] = [
        helper.make_node("Constant", [], ["held"], value=floats("", weights(3, [12, 40]))),
        helper.make_node("MatMul", ["x", "shared"], ["m0"], name="first", doc_string="kept"),
        helper.make_node("MatMul", ["x", "shared"], ["m1"], name="second"),
        helper.make_node("If", ["condition"], ["chosen"], name="choice", then_branch=inner, else_branch=other),
        helper.make_node("Add", ["m0", "m1"], ["s0"]),
        helper.make_node("Add", ["s0", "chosen"], ["s1"]),
        helper.make_node("MatMul", ["s1", "held"], ["m2"]),
        helper.make_node("Gemm", ["m2", "turned", "bias"], ["g0"], name="gemm/turned", transB=1),
        helper.make_node("Gemm", ["g0", "plain"], ["g1"], name="gemm/plain", beta=0.5),
        helper.make_node("Gemm", ["g1", "scaled", "bias"], ["g2"], name="gemm/scaled", alpha=0.5),
        helper.make_node("Gather", ["table", "rows"], ["gathered"], name="gather"),
        helper.make_node("MatMul", ["g2", "table"], ["m3"], name="tied"),
        helper.make_node("MatMul", ["m3", "small"], ["m4"], name="small"),
        helper.make_node("Transpose", ["m4"], ["turned.m4"], perm=[1, 0]),
        helper.make_node("MatMul", ["m4", "turned.m4"], ["y"], name="computed"),
        helper.make_node("MatMul", ["m3", "left.out"], ["z"], name="left/out"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "products",
        [value("x", TensorProto.FLOAT, ["batch", 40]), value("condition", TensorProto.BOOL, []), value("rows", TensorProto.INT64, [2])],
        [value("y", TensorProto.FLOAT, ["rows", "columns"]), value("z", TensorProto.FLOAT, ["rows", "columns"]), value("gathered", TensorProto.FLOAT, ["rows", "columns"])],
        [
            floats("shared", w40), floats("turned", weights(4, [24, 40])), floats("bias", weights(5, [24])),
            tensor("plain", TensorProto.FLOAT, [24, 24], float_data=weights(6, [24, 24]).ravel().tolist()),
            floats("scaled", weights(7, [24, 24])), floats("table", weights(8, [24, 20])), floats("small", weights(9, [20, 2])),
            floats("left.out", weights(10, [20, 16])),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, producer_name="onnx", ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    checker.check_model(model)
    return model


def outside(model: ModelProto, files: list[str]) -> dict[str, bytearray]:
    """Moves the initialisers of a model into files beside it, in turn."""
    data = {file: bytearray() for file in files}
    for i, made in enumerate(model.graph.initializer):
        raw = numpy_helper.to_array(made).tobytes()
        file = data[files[i % len(files)]]
        file.extend(bytes(-len(file) % 64))
        for key, value in (("location", files[i % len(files)]), ("offset", len(file)), ("length", len(raw))):
            made.external_data.add(key=key, value=str(value))
        made.data_location = TensorProto.EXTERNAL
        made.ClearField("raw_data")
        made.ClearField("float_data")
        file.extend(raw)
    return data


def old_inputs() -> ModelProto:
    """As before version 4 of the format: every initialiser is an input too."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "old",
        [value("x", TensorProto.FLOAT, [2, 32]), value("w", TensorProto.FLOAT, [32, 16])],
        [value("y", TensorProto.FLOAT, [2, 16])], [floats("w", weights(11, [32, 16]))],
    )  # fmt: skip
    return helper.make_model(graph, producer_name="onnx", ir_version=3, opset_imports=[helper.make_opsetid("", 8)])


def write(folder: Path) -> None:
    model, expected = kinds()
    (folder / "kinds.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "kinds.expected.json").write_text(json.dumps(expected, indent=0) + "\n")
    model = products()
    (folder / "products.onnx").write_bytes(model.SerializeToString(deterministic=True))
    model.graph.name = "outside"
    for file, data in outside(model, ["outside.onnx_data", "outside.onnx_data_1"]).items():
        (folder / file).write_bytes(data)
    (folder / "outside.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "old_inputs.onnx").write_bytes(old_inputs().SerializeToString(deterministic=True))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if "--check" not in sys.argv:
        target.mkdir(parents=True, exist_ok=True)
        write(target)
    else:
        with tempfile.TemporaryDirectory() as fresh:
            write(Path(fresh))
            names = sorted(path.name for path in Path(fresh).iterdir())
            differ = [name for name in names if (Path(fresh) / name).read_bytes() != (target / name).read_bytes()]
        print(f"{len(names)} files, {len(differ)} differ {differ}")
        sys.exit(1 if differ else 0)
