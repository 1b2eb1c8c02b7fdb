"""SentencePiece.

sentencepiece_train.py learn TEXT TYPE ENTRIES OUT   trains on every line; TYPE: bpe (byte fallback, digits one by one,
                                                     as PolyLM and Llama-2) or unigram (as XLM-R)
sentencepiece_train.py tokens OUT HELDOUT            tokens that the texts are cut into, by language
"""

import json
import sys
import time
from pathlib import Path

import sentencepiece

BPE = {
    "byte_fallback": True, "split_digits": True, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True,
}  # fmt: skip


def learn(text: Path, kind: str, entries: int, out: Path) -> dict:
    begin = time.process_time()
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(out), model_type=kind, vocab_size=entries, character_coverage=0.9995,
        max_sentence_length=1_000_000, num_threads=1, minloglevel=2, hard_vocab_limit=False, **(BPE if kind == "bpe" else {}),
    )  # fmt: skip
    seconds = time.process_time() - begin
    model = sentencepiece.SentencePieceProcessor(model_file=f"{out}.model")
    return {"bytes": text.stat().st_size, "cpu_seconds": seconds, "entries": model.get_piece_size()}


def tokens(model_file: str, held_out: Path) -> dict:
    model, counts = sentencepiece.SentencePieceProcessor(model_file=model_file), {}
    with held_out.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            # A line end is a token in most; the unigram of XLM-R's kind takes it for a space.
            ids = model.encode(record["text"])
            counts[record["language"]] = counts.get(record["language"], 0) + len(ids)
    return {"tokens": counts}


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "learn":
        print(json.dumps(learn(Path(rest[0]), rest[1], int(rest[2]), Path(rest[3]))))
    else:
        print(json.dumps(tokens(rest[0], Path(rest[1]))))


main()
