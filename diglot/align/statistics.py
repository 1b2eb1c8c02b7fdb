"""The size of instructions and preferences that were kept: turns, and words of prompts and responses, by source.

Counted of what was written for training, for the summary and the report (ALLaM shows the same of its instructions). Words are
what stands between spaces; of scripts without spaces a third of the characters. System messages and results of tools are not
counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from diglot.align.messages import Message
from diglot.base.files import read_lines
from diglot.base.summaries.corpus import ConversationStatistics, Lengths
from diglot.text.languages import is_unspaced


def num_words(text: str, language: str) -> int:
    """Words, or a third of the characters in languages without spaces between words."""
    return len(text) // 3 if is_unspaced(language) else len(text.split())


class _Counted:
    """What is counted of one source."""

    def __init__(self, language: str):
        self.language = language
        self.turns: Counter[int] = Counter()
        self.words = {name: array("I") for name in ("prompts", "responses", "rejected")}

    def add(self, record: dict[str, Any]) -> None:
        """Count a conversation or a pair."""
        if "messages" in record:
            messages, rejected = record["messages"], []
        else:
            messages, rejected = record["prompt"] + record["chosen"], record["rejected"]
        self.turns[sum(message["role"] == "user" for message in messages)] += 1
        for name, role, said in (
            ("prompts", "user", messages), ("responses", "assistant", messages), ("rejected", "assistant", rejected),
        ):  # fmt: skip
            self.words[name].extend(self._words(said, role))

    def _words(self, messages: list[Message], role: str) -> list[int]:
        return [num_words(message["content"], self.language) for message in messages if message["role"] == role]

    def found(self) -> ConversationStatistics:
        """The statistics."""
        turns = {str(number): count for number, count in sorted(self.turns.items())}
        lengths = {name: _lengths(words) for name, words in self.words.items() if words}
        return ConversationStatistics(self.language, sum(self.turns.values()), turns, **lengths)


def measure(folder: Path) -> dict[str, ConversationStatistics]:
    """The statistics of `train.jsonl` in a folder, by source."""
    sources: dict[str, _Counted] = {}
    for record in read_lines(folder / "train.jsonl"):
        sources.setdefault(record["source"], _Counted(record["language"])).add(record)
    return {name: counted.found() for name, counted in sources.items()}


def _lengths(words: array[int]) -> Lengths:
    histogram = [0] * max(1, max(words).bit_length())
    for number in words:
        histogram[max(number, 1).bit_length() - 1] += 1
    return Lengths(len(words), sum(words), float(median(words)), histogram)
