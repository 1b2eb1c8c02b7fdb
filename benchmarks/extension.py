"""Extending an English tokenizer by a language: what it gains, and what English loses, against appended pieces.

The base is a Llama-2-style tokenizer (SentencePiece BPE, byte fallback, digits one by one) of 32,000 entries, trained on
the English of the data. Ours continues its merges (`diglot extend-tokenizer`); the peer does what Chinese-LLaMA's
merge_tokenizers.py does: a SentencePiece model is trained on the new language, and its pieces are appended to the base's
with score 0. Both get the same text and are measured on the same held-out documents: English lines cut exactly as
before, new pieces that their own text does not give, and tokens per word of the new language (and of English: a piece
that captures English words lowers it, and the model's rows for those words are lost with it).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure, peer_python

SENTENCEPIECE = "sentencepiece==0.2.3"
PEERS = BENCHMARKS / "peers"
QUICK = (("ar", 2000), ("id", 2000))
FULL = (("ar", 16_000), ("ar", 32_000), ("th", 16_000), ("id", 8000), ("tr", 8000), ("vi", 8000))
NAME = "Chinese-LLaMA's script"


def main() -> None:
    args = arguments("extension", "Extending an English tokenizer, against appended SentencePiece pieces")
    size, entries = (0, 32_000) if args.full else (20_000_000, 8000)
    python = peer_python("sentencepiece-protobuf", [SENTENCEPIECE, "protobuf==7.36.2"])
    rows: list[Row] = []
    notes = [f"Base: {entries:,} English entries. Lines: held-out English lines without characters of the new tokens."]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = [sys.executable, str(PEERS / "diglot_training_corpus.py"), str(args.data), str(folder), str(size), "1"]
        measure(corpus)
        ours = [sys.executable, str(PEERS / "diglot_extension.py"), str(folder), str(entries)]
        measure([*ours, "base"])
        for language, tokens in FULL if args.full else QUICK:
            mine = measure([*ours, language, str(tokens)]).reported
            command = [str(python), str(PEERS / "appended_pieces.py"), str(folder), language, str(tokens)]
            peer = measure(command).reported if python else {}
            if peer:  # of the same words: Thai has no spaces between them
                peer["fertility"] = peer["tokens"] / mine["words"]
                peer["english"] = peer["english_tokens"] / mine["english_words"]
            label = f"+{tokens:,} {language}"
            for what, unit, key, less in (
                ("English lines identical", "%", "identical", False),
                ("new tokens unreachable", "%", "unreachable", True),
                (f"tokens per word, {language}", "", "fertility", True),
                ("tokens per word, en", "", "english", True),
            ):
                rows.append(Row(f"{label}: {what}", unit, mine[key], peer.get(key), NAME if peer else None, less_is_better=less))  # fmt: skip
            notes.append(
                f"{label}: before {mine['before']:.2f} tokens per word; English before {mine['english_before']:.3f}; "
                f"ours took {mine['cpu_seconds']:.0f} CPU s, proofs included; {mine['lines']} English lines."
            )
    finish("extension", rows, args, notes=notes)


if __name__ == "__main__":
    main()
