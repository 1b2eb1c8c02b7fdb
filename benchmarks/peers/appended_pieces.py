"""appended_pieces.py FOLDER LANGUAGE TOKENS: what Chinese-LLaMA's merge_tokenizers.py does.

A SentencePiece BPE model of the language is trained, and those of its pieces that the base lacks are appended with
score 0, until there are TOKENS. FOLDER/base and FOLDER/documents.jsonl come from diglot_extension.py.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protocol


def main() -> None:
    folder, language, tokens = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with (folder / "documents.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    texts = [record["text"] for record in records if record["language"] == language and not record["heldout"]]
    held = {
        wanted: [record["text"] for record in records if record["language"] == wanted and record["heldout"]]
        for wanted in ("en", language)
    }
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.split("\n") if line.strip()),
        model_writer=trained, vocab_size=tokens + 2000, model_type="bpe", byte_fallback=True, split_digits=True,
        hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    new, merged = protocol.ModelProto(), protocol.ModelProto()
    new.ParseFromString(trained.getvalue())
    merged.ParseFromString((folder / "base" / "tokenizer.model").read_bytes())
    known, added = {piece.piece for piece in merged.pieces}, []
    for piece in new.pieces:
        if piece.piece not in known and len(added) < tokens:
            merged.pieces.add(piece=piece.piece, score=0)
            added.append(piece.piece)
    base = sentencepiece.SentencePieceProcessor(model_file=str(folder / "base" / "tokenizer.model"))
    ours = sentencepiece.SentencePieceProcessor(model_proto=merged.SerializeToString())
    lines = [line for text in held["en"] for line in text.split("\n") if line]
    letters = {character for piece in added for character in piece if not character.isascii()} - set("▁")
    compared = [line for line in lines if letters.isdisjoint(line)]
    same = sum(base.encode(line) == ours.encode(line) for line in compared)
    first = len(known)
    unreachable = 0
    for number, piece in enumerate(added, start=first):
        text = piece.replace("▁", " ")
        alone = ours.encode("\n" + text)
        unreachable += number not in alone and number not in ours.encode(text.lstrip(" "))
    print(
        json.dumps(
            {
                "identical": 100 * same / len(compared),
                "lines": len(compared),
                "added": len(added),
                "unreachable": 100 * unreachable / len(added),
                "tokens": sum(map(len, ours.encode(held[language]))),
                "english_tokens": sum(map(len, ours.encode(held["en"]))),
            }
        )
    )


main()
