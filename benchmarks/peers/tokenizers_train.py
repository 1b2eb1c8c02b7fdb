"""The trainer of the tokenizers library, byte-level.

tokenizers_train.py learn TEXT SPLITTING ENTRIES OUT   SPLITTING: digits (Llama-3's with digits one by one), gpt-2
tokenizers_train.py tokens OUT HELDOUT                 tokens that the texts are cut into, by language
"""

import json
import sys
import time
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def learn(text: Path, splitting: str, entries: int, out: Path) -> dict:
    tokenizer = Tokenizer(models.BPE())
    if splitting == "gpt-2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=entries, min_frequency=2, max_token_length=16, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    begin = time.process_time()
    tokenizer.train([str(text)], trainer)
    tokenizer.save(str(out))
    seconds = time.process_time() - begin
    return {"bytes": text.stat().st_size, "cpu_seconds": seconds, "entries": tokenizer.get_vocab_size()}


def tokens(model: str, held_out: Path) -> dict:
    tokenizer, counts = Tokenizer.from_file(model), {}
    with held_out.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            counts[record["language"]] = counts.get(record["language"], 0) + len(tokenizer.encode(record["text"]).ids)
    return {"tokens": counts}


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "learn":
        print(json.dumps(learn(Path(rest[0]), rest[1], int(rest[2]), Path(rest[3]))))
    else:
        print(json.dumps(tokens(rest[0], Path(rest[1]))))


main()
