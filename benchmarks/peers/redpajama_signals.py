"""RedPajama-v2's definitions, restated from its `app/src/core/quality_signals` (Apache-2.0, commit 6d2cee9).

redpajama_signals.py FILE VALUES: writes the signals that have one of ours beside them, by the name of ours. A
name with a stroke, "SIGNAL|HOW", is the same with its known difference from ours taken away.
"""

import json
import math
import re
import string
import sys
import unicodedata
from collections import Counter
from pathlib import Path

from nltk.tokenize import WordPunctTokenizer

PUNCTUATION = str.maketrans("", "", string.punctuation)
SENTENCE = re.compile(r"\b[^.!?]+[.!?]*")
BULLETS = tuple("\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013")


def normalize(text: str) -> str:
    text = text.translate(PUNCTUATION).lower().strip()
    return unicodedata.normalize("NFD", re.sub(r"\s+", " ", text))


def signals(text: str, stop_words: set[str], banned: set[str]) -> dict[str, float]:
    raw, content = WordPunctTokenizer().tokenize(text), normalize(text)
    words, lines = content.split(), re.findall(r"([^\n]*\n|[^\n]+$)", text)
    lines = [line for line in lines if line.strip()]  # ours: blank lines are none
    letters, number = sum(map(len, words)), max(len(words), 1)
    counts = Counter(words)
    found = {
        "bare_words": len(words),
        "mean_bare_word_length": letters / number,
        "sentences": len(SENTENCE.findall(text)),
        "all_symbols_to_word": sum(map(text.count, ("#", "...", "…"))) / max(len(raw), 1),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines),
        "no_latin_words": 1 - sum(bool(re.search("[a-zA-Z]", word)) for word in raw) / max(len(raw), 1),
        "all_caps_words": sum(map(str.isupper, raw)) / max(len(raw), 1),
        "unique_words": len(counts) / number,
        "unigram_entropy": sum(-n / len(words) * math.log(n / len(words)) for n in counts.values()),
        "stop_words": sum(word in stop_words for word in raw) / max(len(raw), 1),
        "banned_words": sum(" ".join(words[i : i + n]) in banned for n in (1, 2) for i in range(len(words) - n + 1))
        / number,
        "curly_brackets": (text.count("{") + text.count("}")) / len(text),
        "lorem_ipsum": content.count("lorem ipsum") / max(len(content), 1),
        "terminal_lines": sum(line.rstrip().endswith((".", "!", "?", "”")) for line in lines) / len(lines),
        "symbol_bullet_lines": sum(line.lstrip().startswith(BULLETS) for line in lines) / len(lines),
        "javascript_lines": sum("javascript" in normalize(line).split() for line in lines) / len(lines),
        "mean_line_words": sum(len(normalize(line).split()) for line in lines) / len(lines),
        "uppercase": sum(map(str.isupper, text)) / sum(len(line.strip()) for line in lines),
    }
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        times = Counter(grams)
        if n < 5:
            gram, most = times.most_common(1)[0] if grams else ((), 0)
            found[f"top_{n}gram"] = sum(map(len, gram)) * most / letters if most > 1 else 0.0
        else:
            covered = {i + k for i, gram in enumerate(grams) if times[gram] > 1 for k in range(n)}
            found[f"duplicate_{n}grams"] = sum(len(words[i]) for i in covered) / max(letters, 1)
    return found | reconciled(text, lines, stop_words)


def reconciled(text: str, lines: list[str], stop_words: set[str]) -> dict[str, float]:
    """The signals that differ, each on our bare words: all of Unicode's punctuation taken away, accents left as they are."""
    words, number_of = bare_words(text), len(bare_words(text)) or 1
    counts = Counter(words)
    single = {cut[0] for cut in map(bare_words, stop_words) if len(cut) == 1}
    how = "on bare words"
    return {
        f"bare_words|{how}": len(words),
        f"mean_bare_word_length|{how}": sum(map(len, words)) / number_of,
        f"unique_words|{how}": len(counts) / number_of,
        f"unigram_entropy|{how}": sum(-n / number_of * math.log(n / number_of) for n in counts.values()),
        f"stop_words|{how}": sum(word in single for word in words) / number_of,
        f"mean_line_words|{how}": sum(len(bare_words(line)) for line in lines) / len(lines),
    }


def bare_words(text: str) -> list[str]:
    """What our catalogue calls so."""
    kept = (c for c in text if unicodedata.category(c)[0] != "P" and c not in "$+<=>^`|~")
    return "".join(kept).lower().split()


def main() -> None:
    file, target, lists = (Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text("utf-8")))
    rows = []
    for line in file.read_text("utf-8").rstrip("\n").split("\n"):
        record = json.loads(line)
        rows.append(signals(record["text"], set(lists[record["language"]]), {"foo", "foo bar"}))
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(json.dumps({"documents": len(rows)}))


main()
