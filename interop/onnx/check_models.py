"""onnxruntime's opinion of models that Pare wrote, and of models whose products it rewrote as MatMulNBits.

    check_models.py FOLDER MODEL.onnx TEXTS.json    MiniLM's folder, its ONNX file, and texts of ../minilm_onnx/compare.py
    check_models.py --fixtures                      the small models of fixtures alone

onnxruntime must load every model, and compute what this file does: it unpacks the codes itself and puts the weights they
stand for back into the float model. One line a check, and the counts last; exit 1 when one fails. Needs requirements.txt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
sys.path.insert(0, str(HERE.parent / "oracle"))

Floats = NDArray[np.float32]
lines: list[bool] = []


def check(title: str, holds: bool) -> None:
    lines.append(bool(holds))
    print(f"{'ok     ' if holds else 'FAILED '} ONNX: {title}")


def rewrite(source: Path, target: Path, **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        ["node", str(HERE / "rewrite.js"), str(source), str(target), json.dumps(options)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # No warnings about the codes that the models by hand do not use.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def unpacked(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of the last axis, the lowest bits of a byte first."""
    parts = [(raw >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*raw.shape[:-1], -1)


def dense(node: onnx.NodeProto, held: dict[str, NDArray[Any]]) -> Floats:
    """The matrix [K, N] that a MatMulNBits stands for."""
    at = {attribute.name: attribute.i for attribute in node.attribute}
    blocks = -(-at["K"] // at["block_size"])
    codes = unpacked(held[node.input[1]], at["bits"]).astype(np.float32)
    scales = held[node.input[2]].reshape(at["N"], blocks).astype(np.float32)
    if len(node.input) > 3:
        zeros = unpacked(held[node.input[3]].reshape(at["N"], -1), at["bits"])[:, :blocks].astype(np.float32)
    else:
        zeros = np.full_like(scales, 2 ** (at["bits"] - 1))
    return ((codes - zeros[..., None]) * scales[..., None]).reshape(at["N"], -1)[:, : at["K"]].T


def by_hand(source: Path, target: Path) -> int:
    """Writes the model with the matrices of every MatMulNBits back in place, computed here. Gives how many there were."""
    model = onnx.load(str(source))
    count = 0

    def visit(graph: onnx.GraphProto, outer: dict[str, NDArray[Any]]) -> None:
        nonlocal count
        held = {**outer, **{each.name: numpy_helper.to_array(each) for each in graph.initializer}}
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    visit(attribute.g, held)
            if node.op_type != "MatMulNBits":
                continue
            count += 1
            name = f"by hand {count}"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(dense(node, held)), name))
            first = node.input[0]
            del node.input[:], node.attribute[:]
            node.input.extend([first, name])
            node.op_type, node.domain = "MatMul", ""

    visit(model.graph, {})
    onnx.save(model, str(target))
    return count


def furthest(a: list[Floats], b: list[Floats]) -> float:
    """The largest difference over the largest value."""
    return max(float(abs(x - y).max() / abs(y).max()) for x, y in zip(a, b, strict=True))


def check_fixtures(work: Path) -> None:
    rng = np.random.default_rng(0)
    for name, source in (("one file", "products"), ("data in two files", "outside"), ("initialisers as inputs", "old_inputs")):
        for options in ({"bits": 4, "blockSize": 16}, {"bits": 4, "symmetric": False}, {"bits": 8, "blockSize": 16, "symmetric": False}):
            target, plain = work / f"{source}_q.onnx", work / f"{source}_plain.onnx"
            report = rewrite(FIXTURES / f"{source}.onnx", target, leastWeights=256, **options)
            done = [line for line in report["nodes"] if "reason" not in line]
            count = by_hand(target, plain)
            feeds: dict[str, Any] = {"x": rng.standard_normal((2, 32 if source == "old_inputs" else 40)).astype(np.float32)}
            if source != "old_inputs":
                feeds |= {"condition": np.array(True), "rows": np.array([3, 1], np.int64)}
            onnx.checker.check_model(str(target))
            result = session(target).run(None, feeds)
            apart = furthest(result, session(plain).run(None, feeds))
            floats = furthest(result, session(FIXTURES / f"{source}.onnx").run(None, feeds))
            title = f"{name}, {options}: {count} products"
            check(f"{title}, {apart:.1e} of the largest value from weights unpacked by hand", count == len(done) > 0 and apart < 1e-3)
            if options["bits"] == 8:
                # 256 levels over some 4 standard deviations lose 0.5 % in each of five products, of which the last is squared.
                check(f"{title}, {floats:.3f} from the float model", floats < 0.05)


def check_written(work: Path) -> None:
    rng = np.random.default_rng(1)
    k, n = np.mgrid[:64, :32]
    matrix = (((5 * k + 3 * n) % 7) / 8).astype(np.float32)
    for external in ("false", "true"):
        target = work / f"written_{external}.onnx"
        subprocess.run(["node", str(HERE / "write_model.js"), str(target), external], check=True)
        onnx.checker.check_model(str(target), full_check=True)
        x = rng.standard_normal((3, 2, 32)).astype(np.float32)
        scores = x.reshape(3, 64) @ matrix
        parts = np.exp(scores - scores.max(-1, keepdims=True))
        expected = parts / parts.sum(-1, keepdims=True)
        model = session(target)
        apart = max(
            float(abs(model.run(None, {"x": x, "condition": np.array(condition)})[0] - factor * expected).max())
            for condition, factor in ((True, 2), (False, 1))
        )
        made = {each.key: each.value for each in onnx.load(str(target)).metadata_props}
        title = f"a model by the writer, external data {external}, {apart:.1e} from NumPy"
        check(title, apart < 1e-5 and made == {"made": "by Pare"} and Path(f"{target}_data").exists() == (external == "true"))


def vectors(path: Path, ids: list[list[int]]) -> Floats:
    model = session(path)
    found = []
    for each in ids:
        batch = np.array([each], np.int64)
        feeds = {"input_ids": batch, "attention_mask": np.ones_like(batch), "token_type_ids": np.zeros_like(batch)}
        mean = model.run(["last_hidden_state"], feeds)[0][0].mean(0)
        found.append(mean / np.linalg.norm(mean))
    return np.array(found)


def theirs(source: Path, target: Path, symmetric: bool) -> None:
    """The model as onnxruntime's own tool quantises it: 4 bits, rounded to nearest, blocks of 32."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=symmetric, bits=4)
    tool = MatMulNBitsQuantizer(onnx.load(str(source)), algo_config=config)
    tool.process()
    tool.model.save_model_to_file(str(target))


def check_minilm(folder: str, source: Path, texts: list[str], work: Path) -> None:
    from wordpiece import WordPiece

    pieces = WordPiece(folder)
    ids = [pieces.encode(text, 128) for text in texts]
    floats = vectors(source, ids)
    target, plain = work / "minilm_q.onnx", work / "minilm_plain.onnx"
    for bits, options in (
        (4, {"blockSize": 32, "symmetric": True}),
        (4, {"blockSize": 32, "symmetric": False, "externalData": True}),
        (8, {"blockSize": 32, "symmetric": True}),
        (8, {"blockSize": 128, "symmetric": False}),
    ):
        report = rewrite(source, target, bits=bits, **options)
        count = by_hand(target, plain)
        found, same = vectors(target, ids), vectors(plain, ids)
        cosines = (found * floats).sum(1)
        title = f"MiniLM, {bits} bits, {options}: {count} products"
        if bits == 8:
            check(f"{title}, least cosine {cosines.min():.5f} to the float model over {len(texts)} texts", count == 36 and cosines.min() > 0.999)
        else:
            theirs(source, plain, options["symmetric"])
            other = (vectors(plain, ids) * floats).sum(1)
            what = f"cosines {cosines.min():.4f} to {cosines.max():.4f}, onnxruntime's own tool {other.min():.4f} to {other.max():.4f}"
            # The same rule; halves may be rounded to the other side.
            check(f"{title}, {what}", count == 36 and bool((cosines > other - 0.002).all()))
        apart = furthest([found], [same])
        check(f"{title}, {apart:.1e} of the largest value from weights unpacked by hand", apart < 1e-3)
        before, after = report["bytesBefore"], report["bytesAfter"]
        check(f"{title}, {before} bytes become {after}", after < before / (6 if bits == 4 else 3.4))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        check_written(Path(temporary))
        check_fixtures(Path(temporary))
        if sys.argv[1:] != ["--fixtures"]:
            folder, model, file = sys.argv[1:4]
            check_minilm(folder, Path(model), json.loads(Path(file).read_text()), Path(temporary))
    print(f"{sum(lines)} passed, {len(lines) - sum(lines)} failed")
    sys.exit(0 if all(lines) else 1)
