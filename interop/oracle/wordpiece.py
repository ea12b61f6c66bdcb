"""BERT's tokenizer (Devlin et al. 2018) from a tokenizer.json: lower case, accents off, punctuation and ideographs apart,
then the longest pieces first.

    wordpiece.py FOLDER TEXT   prints the ids
"""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def is_control(char: str) -> bool:
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf", "Co")


def is_punctuation(char: str) -> bool:
    return (char.isascii() and not char.isalnum() and char > " ") or unicodedata.category(char).startswith("P")


class WordPiece:
    def __init__(self, folder: str | Path) -> None:
        stated = json.loads((Path(folder) / "tokenizer.json").read_text())
        self.vocabulary: dict[str, int] = stated["model"]["vocab"]
        self.longest: int = stated["model"]["max_input_chars_per_word"]
        self.special = {token["content"] for token in stated["added_tokens"] if token["special"]}
        assert stated["normalizer"]["lowercase"] and stated["pre_tokenizer"]["type"] == "BertPreTokenizer"

    def words(self, text: str) -> list[str]:
        spaced = ""
        for char in text:
            if char in "\0\ufffd" or is_control(char):
                continue
            ideograph = any(first <= ord(char) <= last for first, last in IDEOGRAPHS)
            spaced += f" {char} " if ideograph or char.isspace() else char
        plain = "".join(char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
        apart = "".join(f" {char} " if is_punctuation(char) else char for char in plain.lower())
        return apart.split()

    def pieces(self, word: str) -> list[int]:
        unknown = [self.vocabulary["[UNK]"]]
        if len(word) > self.longest:
            return unknown
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                if piece in self.vocabulary:
                    found.append(self.vocabulary[piece])
                    break
            else:
                return unknown
            start = end
        return found

    def encode(self, text: str, most: int) -> list[int]:
        """Ids with [CLS] and [SEP] around them, cut to `most`."""
        assert not any(token in text for token in self.special)
        ids = [id for word in self.words(text) for id in self.pieces(word)]
        return [self.vocabulary["[CLS]"], *ids[: most - 2], self.vocabulary["[SEP]"]]


if __name__ == "__main__":
    print(json.dumps(WordPiece(sys.argv[1]).encode(sys.argv[2], sys.maxsize)))
