"""Makes the golden files of this folder with Python's tokenizers 0.22.2 and sentencepiece.

  python make_golden.py SmolLM2-135M-Instruct.Q4_1.gguf minilm/tokenizer.json

Reads the GGUF file and puts its tokenizers together here, without any code of Pare:
sample_ids.json has the ids of every line of sample.json, sentencepiece.json a small model trained on it.
"""
import hashlib
import io
import json
import pathlib
import struct
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

here = pathlib.Path(__file__).parent
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def gguf_metadata(path):
    with open(path, "rb") as file:
        def scalar(code):
            return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

        def value(kind):
            if kind == 8:
                return file.read(scalar("Q")).decode()
            if kind == 9:
                element, count = scalar("I"), scalar("Q")
                return [value(element) for _ in range(count)]
            return scalar(SCALARS[kind])

        assert file.read(4) == b"GGUF" and scalar("I") == 3
        scalar("Q")
        return {value(8): value(scalar("I")) for _ in range(scalar("Q"))}


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


MODERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
SPLITS = {
    "gpt-2": [split(GPT2 + r"|\s+")],
    "smollm": [split(r"\p{N}"), split(GPT2 + r"|\s+")],
    "llama-bpe": [split(MODERN.replace("DIGITS", r"\p{N}{1,3}"))],
    "qwen2": [split(MODERN.replace("DIGITS", r"\p{N}"))],
    "default": [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split(r"[0-9][0-9][0-9]")],
}


def byte_level(metadata, pre):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(line.split(" ")) for line in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        SPLITS[pre] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False) for token, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def digest(lists):
    return hashlib.sha256(json.dumps(lists, separators=(",", ":")).encode()).hexdigest()


def small_sentencepiece(lines):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=1800,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, num_threads=1, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())

    def kind(i):
        if processor.is_unknown(i):
            return 2
        return 3 if processor.is_control(i) else 6 if processor.is_byte(i) else 1

    return {
        "tokens": [processor.id_to_piece(i) for i in ids],
        "scores": [processor.get_score(i) for i in ids],
        "types": [kind(i) for i in ids],
        "ids": [processor.encode(line) for line in lines],
    }


def main(gguf, minilm):
    lines = json.loads((here / "sample.json").read_text(encoding="utf-8"))
    metadata = gguf_metadata(gguf)
    ids = {pre: [byte_level(metadata, pre).encode(line).ids for line in lines] for pre in ["smollm"]}
    digests = {}
    for pre in SPLITS:
        tokenizer = byte_level(metadata, pre)
        # The whole text too, whose lines are joined again: white space runs over the ends of lines.
        digests[pre] = digest([tokenizer.encode(line).ids for line in lines + ["\n".join(lines)]])
    word_piece = Tokenizer.from_file(minilm)
    word_piece.no_truncation()
    word_piece.no_padding()
    golden = {
        "smollm": ids["smollm"],
        "sha256": digests,
        "minilm": digest([word_piece.encode(line).ids for line in lines]),
    }
    (here / "sample_ids.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    text = json.dumps(small_sentencepiece(lines), separators=(",", ":"), ensure_ascii=False)
    (here / "sentencepiece.json").write_text(text + "\n", encoding="utf-8")


main(*sys.argv[1:])
