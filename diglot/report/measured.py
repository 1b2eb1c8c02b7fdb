"""The page that `diglot tokenizer measure --out` writes: a picture and a table a measure, and examples side by side.

It has the skeleton, styles and script of a run's report (`page.py`) and is as offline as that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diglot.base.files import write_json, write_text
from diglot.base.format import join
from diglot.report.page import render
from diglot.report.section import Section, plot
from diglot.report.tokenizer_figures import gain_curves, gini_bars, side_by_side
from diglot.report.tokenizer_tables import (
    ADVICE_TITLE,
    Measure,
    advice_table,
    best_of,
    fairest_of,
    gini_table,
    language_labels,
    measure_table,
    measures_of,
)  # fmt: skip
from diglot.report.tokenizers import direction, piece_parts
from diglot.text.languages import shown_language


def write_measures(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `measures.json` and `measure.html`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "measures.json", result)
    page = folder / "measure.html"
    write_text(page, measure_page(result))
    return page


def measure_page(result: Mapping[str, Any]) -> str:
    """The page as HTML."""
    sections = [_section(measure, result) for measure in measures_of(result)]
    if result["cost"]:
        sections.append(_gini(result))
    if "advice" in result:
        sections.append(_advice(result))
    sections.append(_examples(result))
    return render("Tokenizers side by side", sections)


def _section(measure: Measure, result: Mapping[str, Any]) -> Section:
    labels = language_labels(result["languages"])
    figure = side_by_side(
        measure.values, measure.axis, lossy=measure.lossy, reference=measure.reference, percent=measure.percent
    )
    caption = measure.title + (". An open mark: loses text." if any(measure.lossy.values()) else ".")
    data = {"plot": plot(measure.key, figure, caption), "table": measure_table(measure, labels)}
    return Section(measure.key, measure.title, _finding(measure, labels), data, layout="measured")


def _finding(measure: Measure, labels: Mapping[str, str]) -> str:
    """Who does best where, in a sentence."""
    wins: dict[str, list[str]] = {}
    for language, label in labels.items():
        known = {name: of[language] for name, of in measure.values.items() if language in of}
        if best := best_of(measure, known, language):
            wins.setdefault(best, []).append(label)
    if not wins:
        return ""
    whole = sum(map(len, wins.values()))
    if len(wins) == 1:
        return f"{next(iter(wins))} does best in {'all languages' if whole > 1 else next(iter(wins.values()))[0]}."
    parts = [
        f"{name} in {join(languages) if len(languages) <= 4 else f'{len(languages)} of {whole} languages'}"
        for name, languages in sorted(wins.items(), key=lambda item: -len(item[1]))
    ]
    return f"Best: {join(parts)}."


def _gini(result: Mapping[str, Any]) -> Section:
    """How unequally the tokenizers charge the languages."""
    cost, fairest = result["cost"], fairest_of(result)
    gini = {name: of["gini"] for name, of in cost["tokenizers"].items()}
    finding = (
        f"{fairest} charges the languages most alike: Gini {gini[fairest]:.3f}." if fairest and len(gini) > 1 else ""
    )
    caption = (
        f"Gini coefficient of the tokens that {cost['sentences']:,} parallel sentences need in "
        f"{len(cost['languages'])} languages: 0 where all need equally many."
    )
    data = {"plot": plot("gini", gini_bars(gini), caption), "table": gini_table(result)}
    return Section("gini", "Inequality between languages", finding, data, layout="measured")


def _advice(result: Mapping[str, Any]) -> Section:
    """What an extension would gain, as a curve a tokenizer and language, and the verdicts."""
    lines = {
        f"{name}, {shown_language(language)}": (found["curve"], found["new_tokens"])
        for name, of in result["advice"].items()
        for language, found in of.items()
    }
    caption = "Tokens per word of held-out text with so many new tokens; a dot where the advice ends."
    data = {"plot": plot("advice", gain_curves(lines), caption), "table": advice_table(result)}
    return Section("advice", ADVICE_TITLE, "", data, layout="measured")


def _examples(result: Mapping[str, Any]) -> Section:
    """The same text as every tokenizer cuts it."""
    labels = language_labels(result["languages"])
    examples = [
        {
            "language": labels[example["language"]],
            "direction": direction(example["language"]),
            "rows": [
                {"when": name, "pieces": [piece_parts(piece) for piece in cut]}
                for name, cut in example["pieces"].items()
            ],
        }
        for example in result["examples"]
    ]
    finding = "One text in each language, as every tokenizer cuts it, with the number of its tokens."
    return Section("examples", "Examples", finding, {"examples": examples}, layout="examples")
