"""What Arabic's words cost after an extension, by kind of word.

diglot_extension_words.py DATA BASE FOLDER BYTES TOKENS…: the tokenizer in BASE is extended by TOKENS Arabic tokens (each
number anew) on BYTES (0: all) of the Arabic and the English text of DATA, every fiftieth document held out; then the words
of the held-out documents and of NTREX are counted by kind. A token between two words (a line end) is the earlier one's.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from diglot_training_corpus import cut, documents, write

from diglot.base.artifact import Artifact, Context, Inputs
from diglot.recipe.tokenizer import ExtendTokenizer
from diglot.text.unicode import DIGIT, LETTER, MARK, character_tables
from diglot.tokenizer import extend
from diglot.tokenizer.folder import load_tokenizer
from diglot.tokenizer.texts import read_texts
from diglot.tokenizer.word_spans import word_spans

LANGUAGE, BASE_LANGUAGE = "ar", "en"
KINDS = (
    "letters alone",
    "letters and punctuation",
    "with vowel marks",
    "with digits",
    "with other letters",
    "no letter",
)
TATWEEL = "\u0640"


def kind_of(word: str) -> str:
    """What decides a word's cost, the dearest first."""
    flags = character_tables()[0][np.frombuffer(word.encode("utf-32-le"), np.uint32)]
    letters = [character for character, flag in zip(word, flags.tolist()) if flag & LETTER]
    if any(not "\u0600" <= letter <= "\u06ff" for letter in letters):
        return "with other letters"
    if (flags & DIGIT).any():
        return "with digits"
    if not letters:
        return "no letter"
    if (flags & MARK).any() or TATWEEL in word:
        return "with vowel marks"
    return "letters alone" if len(letters) == len(word) else "letters and punctuation"


def account(folder: Path, texts: list[str]) -> dict:
    """Words, tokens and words of one token, by kind; and the letters' pieces that words are cut into."""
    tokenizer = load_tokenizer(folder)
    words, tokens, whole = Counter(), Counter(), Counter()
    for text, spans in zip(texts, word_spans(texts, LANGUAGE)):
        if not len(spans.starts):
            continue
        offsets = np.array(tokenizer.encode(text, add_special_tokens=False).offsets, np.int64).reshape(-1, 2)
        # A token lies in the word that its last character is in or behind: the space before a word is part of its token.
        owners = np.searchsorted(spans.starts, np.maximum(offsets[:, 1] - 1, spans.starts[0]), "right") - 1
        counts = np.bincount(owners, minlength=len(spans.starts))
        for start, end, count in zip(spans.starts.tolist(), spans.ends.tolist(), counts.tolist()):
            kind = kind_of(text[start:end])
            words[kind] += 1
            tokens[kind] += count
            whole[kind] += count == 1
    return {kind: {"words": words[kind], "tokens": tokens[kind], "whole": whole[kind]} for kind in KINDS}


def main() -> None:
    data, base, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    held_out = {}
    for language in (BASE_LANGUAGE, LANGUAGE):
        texts = documents(data, language)
        kept = cut(texts, size / 2) if size else texts
        held_out[language] = kept[::50]
        write(folder / "corpus" / "documents", language, [text for number, text in enumerate(kept) if number % 50])
        write(folder / "corpus" / "heldout", language, held_out[language])
    corpus = Artifact(folder / "corpus", "corpus", "corpus", "curate", "", "", {}, {}, {}, {})
    given = Artifact(base, "base", "base", "model", "outside", "", {}, {}, {}, {})
    texts = {"held-out": held_out[LANGUAGE], "NTREX": read_texts(f"{data}/eval/ntrex/multiway18.jsonl.zst:arb")}
    found = {"before": {name: account(base, of) for name, of in texts.items()}}
    for number in map(int, sys.argv[5:]):
        output, begin = folder / f"{number}", time.process_time()
        output.mkdir()
        stage = ExtendTokenizer(languages=[LANGUAGE], new_tokens=number)
        inputs = Inputs({"tokenizer": [given], "corpus": [corpus]})
        summary = extend.run(stage, inputs, output, Context("extended", 0, folder / "scratch"))
        found[str(number)] = {name: account(output, of) for name, of in texts.items()}
        found[str(number)]["cpu_seconds"] = time.process_time() - begin
        assert summary.proofs.identity.changed == 0
    print(json.dumps(found))


main()
