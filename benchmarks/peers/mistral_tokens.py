"""Two vocabularies in use, which the package mistral-common carries.

mistral_tokens.py NAME HELDOUT: tokens that the texts are cut into, by language; NAME: mistral-7b (SentencePiece BPE of
32,000 entries, as Llama-2's) or tekken (byte-level, 131,072 entries, for many languages).
"""

import json
import sys
from pathlib import Path

import mistral_common

DATA = Path(mistral_common.__file__).parent / "data"


def main() -> None:
    name, held_out = sys.argv[1], Path(sys.argv[2])
    if name == "tekken":
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        tekken = Tekkenizer.from_file(DATA / "tekken_240911.json")
        entries = tekken.n_words

        def encode(text: str) -> list[int]:
            return tekken.encode(text, bos=False, eos=False)
    else:
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(model_file=str(DATA / "tokenizer.model.v1"))
        entries, encode = model.get_piece_size(), model.encode
    counts: dict[str, int] = {}
    with held_out.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            counts[record["language"]] = counts.get(record["language"], 0) + len(encode(record["text"]))
    print(json.dumps({"tokens": counts, "entries": entries}))


main()
