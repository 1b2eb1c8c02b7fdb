"""Rules as a judge: which of them each answer breaks, without any model."""

from __future__ import annotations

import re

from diglot.answers.candidates import Candidates
from diglot.recipe.answers import Rules
from diglot.text.consistency import in_language
from diglot.tokenizer.thoughts import answer_of

WORDS = 5  # of a sequence that is looked for twice: Gopher's duplicate 5-grams
# Marks of conversations in chat formats, and a speaker's name at the beginning of a line.
MARK = re.compile(
    r"<\|?(?:im_start|im_end|eot_id|start_header_id|end_header_id|user|assistant|system|end)\|?>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|<</?SYS>>|^\s*(?:#+\s*)?(?:User|Human|Assistant|المستخدم|المساعد)\s*[:：]",
    re.MULTILINE | re.IGNORECASE,
)


def repetition(text: str) -> float:
    """Share of a text's characters (white space left out) in sequences of five words that occur before it too."""
    words = text.split()
    seen: set[tuple[str, ...]] = set()
    repeated = [False] * len(words)
    for start in range(len(words) - WORDS + 1):
        sequence = tuple(words[start : start + WORDS])
        if sequence in seen:
            repeated[start : start + WORDS] = [True] * WORDS
        seen.add(sequence)
    total = sum(map(len, words))
    return sum(len(word) for word, again in zip(words, repeated) if again) / total if total else 0.0


def judge_by_rules(rules: Rules, candidates: list[Candidates]) -> None:
    """Name the rules that every answer breaks, and take a point for each."""
    wrong = _wrong_languages(candidates) if rules.language else [set[int]() for _ in candidates]
    for one, foreign in zip(candidates, wrong, strict=True):
        one.failed = [
            [*(["language"] if place in foreign else []), *_broken(rules, answer.text, answer.finish_reason)]
            for place, answer in enumerate(one.answers)
        ]
        one.scores = [0.0 - len(failed) for failed in one.failed]


def _broken(rules: Rules, text: str, finish_reason: str) -> list[str]:
    """The rules about an answer by itself that it breaks."""
    said = answer_of(text)
    checks = {
        "ended": rules.ended and finish_reason == "length",
        "repetition": rules.max_repetition is not None and repetition(said) > rules.max_repetition,
        "too_short": len(said) < rules.min_characters,
        "too_long": rules.max_characters is not None and len(said) > rules.max_characters,
        "format": rules.format is not None and re.fullmatch(rules.format, said, re.DOTALL) is None,
        "own_turn": rules.own_turn and MARK.search(said) is not None,
    }
    return [name for name, is_broken in checks.items() if is_broken]


def _wrong_languages(candidates: list[Candidates]) -> list[set[int]]:
    """For each prompt the places of the answers in another language than it has; all of a language are looked at at once."""
    by_language: dict[str, list[tuple[int, int]]] = {}
    for number, one in enumerate(candidates):
        by_language.setdefault(one.language, []).extend((number, place) for place in range(len(one.answers)))
    wrong = [set[int]() for _ in candidates]
    for language, places in by_language.items():
        answers = [answer_of(candidates[number].answers[place].text) for number, place in places]
        asked = [candidates[number].prompt[-1]["content"] for number, _ in places]
        for (number, place), right in zip(places, in_language(answers, language, asked), strict=True):
            if right is False:
                wrong[number].add(place)
    return wrong
