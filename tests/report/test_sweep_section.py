"""The section about sweeps: what it says, what it draws, and that it is there only where there is something to show."""

import json
from dataclasses import replace
from pathlib import Path

from summaries import trained

from diglot.base.artifact import Artifact
from diglot.base.summaries.model import SweepRun, SweepSummary
from diglot.base.summaries.tokenizer import (
    DocumentFrame,
    EncodedCounts,
    EncodedSource,
    EncoderUsed,
    Fitted,
    TokensSummary,
)
from diglot.report.figures import Colours
from diglot.report.page import render, sections_of
from diglot.report.reading import Run
from diglot.report.sweep import heldout_by_rate, loss_curves, sweeps, training

BEFORE = {"en": 2.0, "ar": 3.0}


def a_run(rate: float, en: float, ar: float, why: str | None = None) -> SweepRun:
    mean = (en + ar) / 2
    return SweepRun(
        learning_rate=rate, diverged=why is not None or mean > 2.5, why=why, steps=20, tokens=2000,
        loss=None if why else 3.0, measure="bits per byte", heldout={} if why else {"en": en, "ar": ar},
        mean=None if why else mean, before=BEFORE, largest_gradient_norm=1.5, largest_spike_score=0.0,
        skipped_steps=3 if why else 0,
    )  # fmt: skip


RUNS = [a_run(1e-3, 1.2, 2.0), a_run(1e-4, 1.5, 2.5), a_run(1e-2, 0, 0, why="it <leaps>"), a_run(3e-3, 2.5, 3.0)]


def swept(folder: Path, runs: list[SweepRun], best: float | None) -> Artifact:
    """An artifact with the curves of its runs, that of the highest rate without a finite loss at its end."""
    (folder / "logs").mkdir(parents=True)
    summary = SweepSummary("bits per byte", runs, best)
    for each in runs:
        lines = [
            {"type": "step", "step": step, "loss": None if each.why and step > 10 else 5.0 - step / 10}
            for step in range(1, 21)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "logs" / f"rate-{each.learning_rate!r}.jsonl").write_text(text)
    return Artifact(folder, "rates", "sweep", "sweep", "0" * 32, "0" * 32, {}, {}, summary, {})


def section(artifact: Artifact):
    return sweeps(Run([artifact]), Colours(["en", "ar"], {}))


def test_what_it_says(tmp_path: Path) -> None:
    found = section(swept(tmp_path / "a", RUNS, 1e-3))
    assert found.finding == (
        "rates: of 4 learning rates 1e-3 did best: 1.600 bits per byte on held-out text, the mean of English and "
        "Arabic. 3e-3 and 1e-2 diverged."
    )
    rows = found.data["stages"][0]["table"].rows
    assert [(row[0].text, row[3].text, row[3].style, row[-1].text) for row in rows] == [
        ("1e-4", "2", "", ""),
        ("1e-3", "1.6", "good", ""),
        ("3e-3", "2.75", "", "worse than at the start"),
        ("1e-2", "–", "", "ended at step 20, 3 steps skipped"),
    ]


def test_a_best_rate_at_the_edge_is_said(tmp_path: Path) -> None:
    assert "the lowest that was tried" in section(swept(tmp_path / "a", RUNS[:1] + RUNS[2:], 1e-3)).finding
    assert "the highest that was tried" in section(swept(tmp_path / "b", RUNS[:2], 1e-3)).finding


def test_all_diverged(tmp_path: Path) -> None:
    found = section(swept(tmp_path / "a", [RUNS[2], a_run(1e-1, 0, 0, why="too")], None))
    assert found.finding == "rates: all 2 learning rates diverged; try lower ones."
    assert "×" in json.dumps(json.loads(found.data["stages"][0]["rates"].json), ensure_ascii=False)


def test_the_lines_of_the_figure() -> None:
    """A line a language and one of the mean over the rates that did not diverge; crosses for those that did."""
    figure = heldout_by_rate(SweepSummary("loss", RUNS, 1e-3), Colours(["en", "ar"], {}))
    lines = {line.name: (list(line.x), list(line.y)) for line in figure.data}
    assert lines == {
        "English": ([1e-4, 1e-3], [1.5, 1.2]),
        "Arabic": ([1e-4, 1e-3], [2.5, 2.0]),
        "mean": ([1e-4, 1e-3], [2.0, 1.6]),
    }
    assert figure.layout.xaxis.type == "log"
    marks = [(note.text, round(10**note.x, 9)) for note in figure.layout.annotations if note.yref == "paper"]
    assert marks == [("best: 1e-3", 1e-3), ("×", 3e-3), ("×", 1e-2)]


def test_a_run_that_leaves_the_picture_does_not_stretch_it() -> None:
    calm = [{"type": "step", "step": step, "loss": 5.0 - step / 10} for step in range(20)]
    wild = [{"type": "step", "step": step, "loss": 5.0 + 1000.0 * step} for step in range(20)]
    figure = loss_curves([(RUNS[1], calm), (RUNS[0], wild)])
    low, high = figure.layout.yaxis.range
    assert low < 3.1 < 5.0 < high < 6.0
    assert [len(line.y) for line in figure.data] == [20, 20]


def test_it_is_a_section_of_the_page(tmp_path: Path) -> None:
    artifact = swept(tmp_path / "a", RUNS, 1e-3)
    sections = sections_of([artifact], None, None)
    assert "sweep" in [each.name for each in sections]
    page = render("x", sections)
    assert 'id="plot-rates-rates"' in page
    assert "it <leaps>" not in page
    assert sweeps(Run([]), Colours([], {})) is None


def test_what_did_not_become_training_stands_beside_it(artifacts: list[Artifact]) -> None:
    """Left out or shortened when it was encoded, and longer than a row: in documents."""
    used = EncoderUsed("tokenizers", 0, None)
    none = EncodedCounts(0, 0, 0)
    fitted = Fitted(914, 300, 0, {"too_long": 12})
    sources = {name: EncodedSource("chat", "en", "chat", none, none, fitted) for name in ("chat", "unused")}
    changed: dict[str, dict] = {
        "tokens": {"summary": TokensSummary("f" * 32, 5000, 9, {}, sources, used, DocumentFrame("<s>", "</s>", ""))},
        "continued": {"summary": trained(dropped_as_too_long={"chat": 553}, documents={"chat": 902})},
    }
    changed["continued"]["inputs"] = {"stages": {"tokens": {"tokens": "0" * 32}}}
    run = Run([replace(each, **changed.get(each.stage, {})) for each in artifacts])
    section = training(run, Colours(run.languages(), run.source_languages()))
    assert section is not None
    (facts,) = [stage["facts"] for stage in section.data["stages"] if stage["name"] == "continued"]
    assert facts[-2:] == [
        "of 914 records of chat: 300 split by turns, 12 left out (too long 12)",
        "553 of 902 documents of chat are longer than a sequence and left out",
    ]
