"""What was learnt, at the end of a run: the table, and the same words as on the page."""

import dataclasses
import io
import subprocess
import sys

from rich.console import Console
from small_run import by_stage, with_scores

from diglot.base.artifact import Artifact
from diglot.base.table import drawn
from diglot.report.learnt import learnt_of
from diglot.report.page import sections_of
from diglot.report.results import scores_of


def test_terminal_table_fits_80_columns_and_has_every_measure(artifacts: list[Artifact]) -> None:
    learnt = learnt_of(artifacts)
    assert learnt is not None
    stream = io.StringIO()
    Console(file=stream, width=80).print(drawn(learnt.table))
    text = stream.getvalue()
    assert max(map(len, text.split("\n"))) <= 80
    for words in ("Arabic", "English", "cloze-ar", "26% ±6", "76% ±6", "+50", "bits per byte", "−1.900", "preference margin, nats"):  # fmt: skip
        assert words in text
    assert learnt_of([artifact for artifact in artifacts if artifact.kind != "scores"]) is None


def test_terminal_table_loads_nothing_heavy() -> None:
    code = "import sys, diglot.report.learnt; print({'rich', 'plotly', 'jinja2', 'torch', 'numpy', 'numba'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_terminal_says_what_the_page_says(artifacts: list[Artifact]) -> None:
    learnt, headline = learnt_of(artifacts), sections_of(artifacts, None, None)[0]
    assert learnt
    assert learnt.finding
    assert headline.finding.startswith(learnt.finding)
    assert learnt.table.rows == headline.data["table"].rows
    assert learnt.table.notes == headline.data["table"].notes


def test_it_is_said_what_the_intervals_cover_and_how_to_try_another_seed(artifacts: list[Artifact]) -> None:
    learnt = learnt_of(artifacts)
    assert learnt
    notes = " ".join(learnt.table.notes)
    assert "over the items of a test" in notes
    assert "paired, item by item" in notes
    assert "diglot run RECIPE seed=1 --run FOLDER" in notes


def test_a_baseline_from_another_stage_is_said_once_for_all_languages(artifacts: list[Artifact]) -> None:
    bits = scores_of(by_stage(artifacts, "evaluate-base")).bits_per_byte
    spoilt = {name: dataclasses.replace(each, value=16.457) if name != "en" else each for name, each in bits.items()}
    learnt = learnt_of(with_scores(artifacts, "evaluate-base", bits_per_byte=spoilt))
    assert learnt
    expected = "Arabic and English–Arabic: before evaluate-expanded, bits per byte were worse than 8, those of equally likely bytes."
    assert expected in learnt.table.notes
