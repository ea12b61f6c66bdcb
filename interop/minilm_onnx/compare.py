"""Pare's ids and vectors of texts against the oracle's ids, and against onnxruntime on the ONNX of the same model.

    compare.py --texts BOOK SPEECH TEXTS.json    writes the texts that all sides embed
    compare.py FOLDER MODEL.onnx TEXTS.json PARE.json

ONNX gives the last hidden states; the mean over tokens and the normalisation are done here. One line a check, and the counts
last; exit 1 when one fails.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "oracle"))

from bert_forward import Bert  # noqa: E402
from wordpiece import WordPiece  # noqa: E402

OTHERS = [
    "", "a", "A cat sits on the mat.", "A kitten is lying on a rug.", "The parliament voted on the new tax.",
    "  blanks\tand\nlines \r\n", "Ça, c'est déjà l'été: naïve café Å", "東京は日本の首都です。", "Привет, как дела?", "e\u0301 and \u00e9",
    "3.14159 + 2e-7 = ?!", "x" * 101, "antidisestablishmentarianism", "\u200bzero width\u00ad, soft hyphen\ufffd", "İstanbul STRASSE",
]  # fmt: skip
LEAST_COSINE = 0.9999
# f32 sums of up to 1536 products in six layers, of vectors of length 1.
LARGEST_DIFFERENCE = 1e-4


def write_texts(book: str, speech: str, path: str) -> None:
    texts = list(OTHERS)
    for file in (book, speech):
        text = Path(file).read_text(encoding="utf-8")
        texts += [text[at : at + length] for at, length in ((0, 90), (5_000, 500), (20_000, 1100), (60_000, 4000))]
    Path(path).write_text(json.dumps(texts))


def onnx_vectors(path: str, ids: list[list[int]]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    vectors = []
    for each in ids:
        batch = np.array([each], np.int64)
        inputs: dict[str, Any] = {
            "input_ids": batch, "attention_mask": np.ones_like(batch), "token_type_ids": np.zeros_like(batch),
        }  # fmt: skip
        mean = session.run(["last_hidden_state"], inputs)[0][0].mean(0)
        vectors.append(mean / np.linalg.norm(mean))
    return np.array(vectors)


def compare(folder: str, onnx: str, texts_file: str, pare_file: str) -> int:
    texts = json.loads(Path(texts_file).read_text())
    pare = json.loads(Path(pare_file).read_text())
    settings = json.loads((Path(folder) / "sentence_bert_config.json").read_text())
    pieces = WordPiece(folder)
    ids = [pieces.encode(text, settings["max_seq_length"]) for text in texts]
    lengths = [len(each) for each in ids]
    found = np.array(pare["vectors"])
    theirs = onnx_vectors(onnx, ids)
    cosines = (found * theirs).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(theirs, axis=1)
    encoder = Bert(folder)
    some = [i for i, length in enumerate(lengths) if length < 40]
    oracle = np.array([encoder.vector(ids[i]) for i in some])
    differ = [text for text, a, b in zip(texts, pare["ids"], ids, strict=True) if a != b]
    checks = [
        (f"ids of {len(texts)} texts of {min(lengths)} to {max(lengths)} tokens", not differ, f"{differ[:2]!r} differ"),
        (f"vectors: least cosine {cosines.min():.8f} against onnxruntime", bool(cosines.min() > LEAST_COSINE), ""),
        (
            f"vectors: largest difference {abs(found - theirs).max():.1e} from onnxruntime",
            bool(abs(found - theirs).max() < LARGEST_DIFFERENCE),
            "",
        ),
        (
            f"vectors: largest difference {abs(found[some] - oracle).max():.1e} from the float64 oracle",
            bool(abs(found[some] - oracle).max() < LARGEST_DIFFERENCE),
            "",
        ),
    ]
    for title, holds, why in checks:
        print(f"{'ok     ' if holds else 'FAILED '} MiniLM: {title}{'' if holds else f'; {why}'}")
    failed = sum(not holds for _, holds, _ in checks)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "--texts":
        write_texts(*sys.argv[2:5])
    else:
        sys.exit(compare(*sys.argv[1:5]))
