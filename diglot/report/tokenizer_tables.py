"""Tokenizers side by side: a table a measure, and examples cut into pieces.

Everything here is made from what `diglot.tokenizer.compare.compare` returns; the page in `measured.py` has the same
tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from diglot.base.format import join, one_line, share, short
from diglot.base.table import Cell, Column, Table, left
from diglot.text.languages import is_right_to_left, shown_language

LOSSY_NOTE = "† loses text: over 1% of the tokens stand for the unknown, so numbers look better than they are."
ADVICE_TITLE = "Would an extension be worth it? Tokens per word by new tokens"
LOSSY = 0.01  # share of tokens that are unknown, above which a tokenizer loses text
RIGHT_TO_LEFT_ISOLATE, END_OF_ISOLATE = "\u2067", "\u2069"


class Measure(NamedTuple):
    """One table, and its picture on the page.

    Attributes:
        key: of the measure.
        title, note: what it says, and how to read it.
        axis: of the picture.
        values: by tokenizer and language.
        lossy: by tokenizer, the languages whose value looks better than it is, as text is lost.
        decimals: shown; percent: values are shares.
        best: the better of two values: `min`, `max` or None.
        reference: a value that others are relative to.
    """

    key: str
    title: str
    note: str
    axis: str
    values: dict[str, dict[str, float]]
    lossy: dict[str, list[str]]
    decimals: int = 2
    percent: bool = False
    best: str | None = "min"
    reference: float | None = None

    def text(self, value: float) -> str:
        """A value as shown."""
        return share(value) if self.percent else f"{value:.{self.decimals}f}"


def measures_of(result: Mapping[str, Any]) -> list[Measure]:
    """The tables there are to show, in order."""

    def of(key: str) -> dict[str, dict[str, float]]:
        return {
            name: {language: values[key] for language, values in languages.items()}
            for name, languages in result["measures"].items()
        }

    lossy = lossy_languages(result)
    # A tokenizer that loses text makes fewer tokens of it: its numbers are shown, but never called best.
    every = list(result["languages"])
    against = {name: every if lossy[result["baseline"]] else codes for name, codes in lossy.items()}
    found = [
        Measure("fertility", "Tokens per word", _what_words_are(result["languages"]), "tokens per word",
                of("fertility"), lossy),
        Measure("continued", "Words cut into more than one token", "Punctuation around a word does not count.",
                "share of words", of("continued_words"), lossy, percent=True),
        Measure("characters", "Characters per token", "", "characters per token", of("characters_per_token"), lossy,
                best="max"),
        Measure("bytes", "Bytes per token", "UTF-8: Arabic and Cyrillic letters have two bytes, most Asian ones three.",
                "bytes per token", of("bytes_per_token"), lossy, best="max"),
        Measure("compression", f"Compression against {result['baseline']} = 1",
                f"Tokens of {result['baseline']} / tokens, as in PolyLM's figure 1: above 1, fewer tokens are needed.",
                "compression", result["compression"], against, best="max", reference=1.0),
    ]  # fmt: skip
    # Only where the same sentences are there in all languages can their costs be compared.
    if cost := result["cost"]:
        count = f"{cost['sentences']:,} sentences, the same in all {len(cost['languages'])} languages."
        tokens = {name: of["tokens_per_sentence"] for name, of in cost["tokenizers"].items()}
        premium = {name: of["premium"] for name, of in cost["tokenizers"].items()}
        unfair = {name: cost["languages"] if loses else [] for name, loses in lossy_costs(result).items()}
        found += [
            Measure("cost", "Tokens per sentence", count, "tokens per sentence", tokens, lossy, decimals=1),
            Measure("premium", "Premium over the cheapest language", count,
                    "multiple of the cheapest language", premium, unfair, best=None, reference=1.0),
        ]  # fmt: skip
    return found


def _what_words_are(languages: Mapping[str, Mapping[str, Any]]) -> str:
    """What was counted as a word, as far as it needs saying."""
    labels = language_labels(languages)
    groups = {
        kind: join([labels[code] for code, facts in languages.items() if facts["words_are"] == kind])
        for kind in ("segments", "characters")
    }
    parts = [f"in {groups['segments']} a segment of BudouX"] if groups["segments"] else []
    parts += [f"in {groups['characters']} a letter with its marks"] if groups["characters"] else []
    return f"A word stands between spaces; {join(parts)}." if parts else "A word stands between spaces."


def language_labels(languages: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """The names of languages; with the code where two have the same, as pt and pt-BR."""
    names = {language: shown_language(language) for language in languages}
    shared = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {code: f"{name} ({code})" if name in shared else name for code, name in names.items()}


def lossy_languages(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """By tokenizer, the languages of which it loses text: what it does not know costs next to nothing."""
    return {
        name: [language for language, values in of.items() if values["unknown_tokens"] > LOSSY]
        for name, of in result["measures"].items()
    }


def lossy_costs(result: Mapping[str, Any]) -> dict[str, bool]:
    """By tokenizer, whether it loses text of a parallel language: then it cannot be said what languages cost."""
    parallel = set(result["cost"]["languages"])
    return {name: not parallel.isdisjoint(languages) for name, languages in lossy_languages(result).items()}


# --- tables ---------------------------------------------------------------------------------------------------


def tables(result: Mapping[str, Any], width: int = 100) -> Iterator[Table | RenderableType]:
    """What `diglot tokenizer measure` prints, in a terminal of so many columns."""
    labels = language_labels(result["languages"])
    for measure in measures_of(result):
        yield measure_table(measure, labels, measure.title)
    if result["cost"]:
        yield gini_table(result, "Inequality between languages")
    if "advice" in result:
        yield advice_table(result, ADVICE_TITLE)
    yield from _examples(result, width)


def measure_table(measure: Measure, labels: Mapping[str, str], title: str = "") -> Table:
    """A row a language, a column a tokenizer; the best of each row is marked, and what loses text."""
    table = Table([*left(""), *(Column(name, align="right") for name in measure.values)], title)
    losing = False
    for language, label in labels.items():
        known = {name: of[language] for name, of in measure.values.items() if language in of}
        if not known:
            continue
        best = best_of(measure, known, language)
        cells = [Cell("–", style="quiet")] * len(measure.values)
        for place, name in enumerate(measure.values):
            if name in known:
                loses = language in measure.lossy[name]
                losing |= loses
                style = "good" if name == best else "quiet" if loses else ""
                cells[place] = Cell(measure.text(known[name]) + ("†" if loses else ""), style=style)
        table.add(label, *cells)
    table.notes = [note for note in (measure.note, LOSSY_NOTE if losing else "") if note]
    return table


def gini_table(result: Mapping[str, Any], title: str = "") -> Table:
    """How unequally each tokenizer charges the languages."""
    loses, labels = lossy_costs(result), language_labels(result["languages"])
    table = Table([*left(""), *(Column(name, align="right") for name in ("Gini", "dearest language"))], title)
    fairest = fairest_of(result)
    for name, of in result["cost"]["tokenizers"].items():
        gini = Cell(f"{of['gini']:.3f}{'†' if loses[name] else ''}", style="good" if name == fairest else "")
        dearest = max(of["premium"], key=of["premium"].__getitem__)
        table.add(name, gini, f"{labels[dearest]} {of['premium'][dearest]:.2f} ×")
    table.notes = [LOSSY_NOTE] if any(loses.values()) else []
    return table


def advice_table(result: Mapping[str, Any], title: str = "") -> Table:
    """What an extension would gain: tokens per word by new tokens, and the verdict; a row a language and tokenizer."""
    steps = sorted({step for of in result["advice"].values() for found in of.values() for step, _ in found["curve"]})
    heads = ["now", *(f"+{short(step)}" for step in steps[1:]), "advised", "saves"]
    table = Table([*left("", "tokenizer"), *(Column(head, align="right") for head in heads)], title)
    sentences = []
    for name, of in result["advice"].items():
        for language, found in of.items():
            curve, advised = dict(map(tuple, found["curve"])), found["new_tokens"]
            cells = [
                Cell(f"{curve[step]:.2f}" if step in curve else "–", style="good" if step == advised > 0 else "")
                for step in steps
            ]
            table.add(
                shown_language(language), name, *cells, short(advised) if advised else "none", share(found["saved"])
            )
            sentences.append(f"{name}, {advice_sentence(language, found['grade'], found['reason'])}")
    table.notes = sentences
    return table


def advice_sentence(language: str, grade: str, reason: str) -> str:
    """A verdict in words."""
    return f"{shown_language(language)}: {grade}. {reason}"


def fairest_of(result: Mapping[str, Any]) -> str | None:
    """The tokenizer that charges the languages most alike, among those that lose no text."""
    loses = lossy_costs(result)
    gini = {name: of["gini"] for name, of in result["cost"]["tokenizers"].items() if not loses[name]}
    return min(gini, key=gini.__getitem__, default=None)


def best_of(measure: Measure, known: Mapping[str, float], language: str) -> str | None:
    """The tokenizer that does best, among several that lose no text."""
    fair = {name: value for name, value in known.items() if language not in measure.lossy[name]}
    if measure.best is None or len(known) < 2 or not fair:
        return None
    return (min if measure.best == "min" else max)(fair, key=fair.__getitem__)


# --- examples -------------------------------------------------------------------------------------------------


def _examples(result: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    """Each text, and below it a line a tokenizer: how many pieces, and as many of them as the line holds."""
    labels = language_labels(result["languages"])
    names = max(map(cell_len, result["measures"]), default=0)
    room = max(20, width - names - 11)
    for example in result["examples"]:
        rtl = is_right_to_left(example["language"])
        yield Text.assemble((labels[example["language"]], "bold"), "  ", isolated(one_line(example["text"]), rtl))
        lines = [
            f"  {one_line(name)}{' ' * (names - cell_len(name))}  {len(cut):>4}  {isolated(_fitting(cut, room), rtl)}"
            for name, cut in example["pieces"].items()
        ]
        yield Text("\n".join(lines) + "\n", no_wrap=True)


def _fitting(cut: Sequence[str], room: int) -> str:
    """Pieces with bars between them, as many as fit; bytes without 0x."""
    shown = ""
    for number, piece in enumerate(cut):
        text = one_line(piece).replace("<0x", "<")
        longer = f"{shown} | {text}" if shown else text
        if cell_len(longer) > room - (4 if number < len(cut) - 1 else 0):
            return f"{shown} | …"
        shown = longer
    return shown


def isolated(text: str, right_to_left: bool) -> str:
    """Text that keeps its own direction inside a line: a terminal that knows directions then shows the pieces in order."""
    return f"{RIGHT_TO_LEFT_ISOLATE}{text}{END_OF_ISOLATE}" if right_to_left else text
