"""Indicators in the section about training: their curves, the table of verdicts, and its words in the finding."""

import json
import random
from pathlib import Path

from summaries import trained

from diglot.base.artifact import Artifact
from diglot.report.figures import Colours
from diglot.report.page import render
from diglot.report.reading import Run
from diglot.report.sweep import training

STEPS = [0, 50, 100, 150, 200]


def log(languages: dict[str, list[float]]) -> str:
    draw = random.Random(1)
    levels = [draw.gauss(0, 0.2) for _ in range(20)]
    lines = [{"type": "step", "step": step, "phase": "all", "loss": 3.0, "tokens": 10 * step} for step in range(1, 201)]
    for place, step in enumerate(STEPS):
        found = {
            language: {"cloze": {"value": of[place], "chance": 0.25, "values": [of[place] + level for level in levels]},
                       "answers": {"value": 2.0, "values": [2.0] * 20}}
            for language, of in languages.items()
        }  # fmt: skip
        lines.append({"type": "evaluation", "step": step, "languages": {}, "sources": {}, "indicators": found})
    return "".join(json.dumps(line) + "\n" for line in lines)


def section(folder: Path, languages: dict[str, list[float]]):
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "metrics.jsonl").write_text(log(languages))
    summary = trained(parameters=1000, tokens=2000, steps=200)
    model = Artifact(folder, "trunk", "model", "train", "0" * 32, "0" * 32, {}, {}, summary, {})
    extended = Artifact(
        folder, "more", "tokenizer", "extend-tokenizer", "1" * 32, "1" * 32, {"languages": ["ar"]}, {}, summary, {}
    )
    return training(Run([extended, model]), Colours(["en", "ar"], {}))


def test_verdicts_stand_in_a_table_the_new_language_first(tmp_path: Path) -> None:
    found = section(tmp_path, {"en": [0.9, 0.85, 0.9, 0.86, 0.9], "ar": [0.3, 0.4, 0.52, 0.6, 0.7]})
    table = found.data["stages"][0]["watch"]
    assert [(row[0].text, row[0].detail, row[1].text, row[-1].text) for row in table.rows] == [
        ("Arabic", "", "cloze", "watch"),
        ("Arabic", "", "answers", "wanders"),
        ("English", "the base's", "cloze", "wanders"),
        ("English", "the base's", "answers", "wanders"),
    ]
    assert [cell.text for cell in table.rows[0][2:5]] == ["30%", "70%", "1.00"]
    assert found.finding.endswith("Worth watching in trunk: in Arabic cloze.")
    page = render("A page", [found])
    for said in ("Which numbers to watch", "wanders", 'data-plot="cloze-trunk"', 'data-plot="answers-trunk"'):
        assert said in page


def test_without_indicators_there_is_no_table(tmp_path: Path) -> None:
    found = section(tmp_path, {})
    assert found.data["stages"][0]["watch"] is None
    assert found.data["stages"][0]["indicators"] == []
    assert "watching" not in found.finding
