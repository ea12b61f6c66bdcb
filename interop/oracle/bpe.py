"""Byte-level BPE tokenizer of a GGUF file (`tokenizer.ggml.model` gpt2, pre-tokeniser smollm or gpt-2).

A second opinion on token ids: the plain algorithm, the lowest-ranked pair first, leftmost on ties.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex

from gguf_reader import GgufFile

GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
CONTROL, USER_DEFINED = 3, 4


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte; the 68 others map to U+0100 onwards, in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def pieces(text: str, pre: str) -> Iterator[str]:
    """The pre-tokens. smollm cuts out every digit first, so a blank before a digit stands alone."""
    parts = regex.split(r"(\p{N})", text) if pre == "smollm" else [text]
    for part in parts:
        yield from GPT2.findall(part)


class Tokenizer:
    def __init__(self, metadata: dict[str, Any]) -> None:
        model, self.pre = metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]
        if model != "gpt2" or self.pre not in ("smollm", "gpt-2"):
            raise ValueError(f"tokenizer {model} with pre-tokeniser {self.pre} is not gpt2 with smollm or gpt-2")
        self.tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(metadata["tokenizer.ggml.merges"])}
        self.alphabet = byte_alphabet()
        self.bytes = {character: byte for byte, character in enumerate(self.alphabet)}
        self.kinds: list[int] = metadata["tokenizer.ggml.token_type"]
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids without BOS. User-defined tokens in the text are cut out first, control tokens if `special`."""
        cut = (CONTROL, USER_DEFINED) if special else (USER_DEFINED,)
        whole = {token for token, kind in zip(self.tokens, self.kinds) if kind in cut}
        if not whole:
            return [token for piece in pieces(text, self.pre) for token in self.merged(piece)]
        longest_first = "|".join(regex.escape(token) for token in sorted(whole, key=len, reverse=True))
        ids: list[int] = []
        for part in regex.split(f"({longest_first})", text):
            if part in whole:
                ids.append(self.ids[part])
            else:
                ids.extend(token for piece in pieces(part, self.pre) for token in self.merged(piece))
        return ids

    def merged(self, piece: str) -> list[int]:
        if piece not in self.known:
            parts = [self.alphabet[byte] for byte in piece.encode("utf-8")]
            while len(parts) > 1:
                ranked = [(self.ranks.get(pair, len(self.ranks)), at) for at, pair in enumerate(zip(parts, parts[1:]))]
                rank, at = min(ranked)
                if rank == len(self.ranks):
                    break
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            self.known[piece] = [self.ids[part] for part in parts]
        return self.known[piece]

    def decode(self, ids: list[int]) -> str:
        raw = b"".join(
            self.tokens[token].encode()
            if self.kinds[token] in (CONTROL, USER_DEFINED)
            else bytes(self.bytes[character] for character in self.tokens[token])
            for token in ids
        )
        return raw.decode("utf-8", errors="replace")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints the token ids of a text as JSON.")
    parser.add_argument("gguf", help="file whose tokenizer is used")
    parser.add_argument("text")
    parser.add_argument("--special", action="store_true", help="parse control tokens such as <|im_start|>")
    parser.add_argument("--file", action="store_true", help="TEXT names a file in UTF-8")
    arguments = parser.parse_args()
    text = Path(arguments.text).read_bytes().decode("utf-8") if arguments.file else arguments.text
    print(json.dumps(Tokenizer(GgufFile(arguments.gguf).metadata).encode(text, arguments.special)))
