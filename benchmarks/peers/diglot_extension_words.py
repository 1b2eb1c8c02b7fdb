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


def bare_words(texts: list[str]) -> Counter[str]:
    """Words of letters alone, without the punctuation around them."""
    counts: Counter[str] = Counter()
    for text, spans in zip(texts, word_spans(texts, LANGUAGE)):
        for start, end in zip(spans.core_starts.tolist(), spans.core_ends.tolist()):
            counts[text[start:end]] += 1
    return Counter({word: count for word, count in counts.items() if kind_of(word) == KINDS[0]})


def known_share(training: Counter[str], bare: Counter[str], number: int) -> float:
    """How many of some words are among the most frequent ones of the training text."""
    most = {word for word, _ in training.most_common(number)}
    return sum(count for word, count in bare.items() if word in most) / sum(bare.values())


def least(account: dict, known: float) -> float:
    """Tokens a word if known words were one token each, unknown ones two, and all else as it is.

    Words with punctuation pay a token for it; those with vowel marks are taken as if they had none.
    """
    words = sum(kind["words"] for kind in account.values())
    tokens = 0.0
    for kind, its in account.items():
        spelled = its["words"] * (2 - known)
        tokens += {KINDS[0]: spelled, KINDS[1]: spelled + its["words"], KINDS[2]: spelled}.get(kind, its["tokens"])
    return tokens / words


def prepare(data: Path, folder: Path, size: int) -> dict[str, list[str]]:
    """Write the corpus of both languages; returns the Arabic training text, the held-out text and NTREX."""
    for language in (BASE_LANGUAGE, LANGUAGE):
        texts = documents(data, language)
        kept = cut(texts, size / 2) if size else texts
        training = [text for number, text in enumerate(kept) if number % 50]
        write(folder / "corpus" / "documents", language, training)
        write(folder / "corpus" / "heldout", language, kept[::50])
    ntrex = read_texts(f"{data}/eval/ntrex/multiway18.jsonl.zst:arb")
    return {"training": training, "held-out": kept[::50], "NTREX": ntrex}


def main() -> None:
    data, base, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    texts = prepare(data, folder, size)
    training = bare_words(texts.pop("training"))
    bare = {name: bare_words(of) for name, of in texts.items()}
    corpus = Artifact(folder / "corpus", "corpus", "corpus", "curate", "", "", {}, {}, {}, {})
    given = Artifact(base, "base", "base", "model", "outside", "", {}, {}, {}, {})
    found = {"0": {name: account(base, of) for name, of in texts.items()} | {"least": dict.fromkeys(texts)}}
    for number in map(int, sys.argv[5:]):
        output, begin = folder / f"{number}", time.process_time()
        output.mkdir()
        stage = ExtendTokenizer(languages=[LANGUAGE], new_tokens=number)
        inputs = Inputs({"tokenizer": [given], "corpus": [corpus]})
        summary = extend.run(stage, inputs, output, Context("extended", 0, folder / "scratch"))
        assert summary.proofs.identity.changed == 0
        of = {name: account(output, of) for name, of in texts.items()}
        floor = {name: least(of[name], known_share(training, bare[name], number)) for name in texts}
        found[str(number)] = {**of, "least": floor, "cpu_seconds": time.process_time() - begin}
    counts = (*map(int, sys.argv[5:]), len(training))
    known = {name: {count: known_share(training, bare[name], count) for count in counts} for name in texts}
    print(json.dumps({"texts": list(texts), "extensions": found, "known": known}))


if __name__ == "__main__":
    main()
