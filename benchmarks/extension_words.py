"""What the words of Arabic cost after an extension of a real tokenizer, by kind of word, and what of it could be less.

The base is MODELS/tokenizers/BASE (`python tests/helpers/real_models.py MODELS` makes them): by default `llama2`, whose entries
are Mistral-7B's, id for id; `llama` is Llama-2's own. The text is all Arabic and English of the data, every fiftieth document
held out. Words are those of the held-out documents and of NTREX, which is of no such source. Beside our tokens a word stands the least that any pieces within words could come to with as many
new tokens: the most frequent words of letters in the training text one token each, all others two, digits, Latin letters and
punctuation as the base has them. That is out of reach: it has no pieces for the halves.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from common import BENCHMARKS, Row, arguments, finish, measure

SCRIPT = BENCHMARKS / "peers" / "diglot_extension_words.py"
SIZES = {"quick": (6_000_000, (1000, 2000)), "full": (0, (8000, 32_000, 64_000, 96_000))}
LEAST = "whole words and halves"


def main() -> None:
    models = os.environ.get("DIGLOT_MODELS", "")
    args = arguments(
        "extension_words", "Tokens per Arabic word after an extension, by kind of word", models=models, base="llama2"
    )
    base = Path(args.models) / "tokenizers" / args.base
    if not base.is_dir():
        sys.exit(
            f"{base}: no tokenizer there; python tests/helpers/real_models.py FOLDER makes it, then --models FOLDER"
        )
    size, numbers = SIZES["full" if args.full else "quick"]
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(
            [sys.executable, str(SCRIPT), str(args.data), str(base), temporary, str(size), *map(str, numbers)]
        ).reported
    rows, notes = [], []
    for number, of in found["extensions"].items():
        for text in found["texts"]:
            account, least = of[text], of["least"][text]
            words = sum(kind["words"] for kind in account.values())
            tokens = sum(kind["tokens"] for kind in account.values())
            label = f"+{int(number):,}, {text}" if int(number) else f"before, {text}"
            rows.append(Row(f"{label}: tokens per word", "", tokens / words, least, LEAST if least else None, less_is_better=True))  # fmt: skip
            for kind, its in account.items():
                if its["words"]:
                    notes.append(
                        f"{label}: {kind}: {100 * its['words'] / words:.1f}% of the words, {its['tokens'] / its['words']:.3f} "
                        f"tokens each, {100 * its['whole'] / its['words']:.1f}% whole, "
                        f"{(its['tokens'] - its['words']) / words:.4f} of what is above 1"
                    )
    known = found["known"]
    for text in found["texts"]:
        shares = ", ".join(
            f"{100 * share:.1f}% among the {int(count):,} most frequent" for count, share in known[text].items()
        )
        notes.append(f"{text}: of the words of letters alone {shares} of the training text.")
    finish("extension_words", rows, args, notes=notes)


if __name__ == "__main__":
    main()
