"""The report's section about instructions that a model wrote."""

from diglot.base.artifact import read_artifact, writing
from diglot.base.summaries.corpus import DocumentCounts, Round, SelfInstructSummary
from diglot.report.page import render, sections_of
from diglot.report.self_instruct import passed


def made(folder, rounds):
    path = folder / "made"
    with writing(
        path, stage="made", kind="instructions", do="self-instruct", fingerprint="a" * 32, settings={}, inputs={}
    ) as unfinished:
        (unfinished.folder / "ledger.json").write_text('{"sources": {}}')
        unfinished.summary = SelfInstructSummary(
            DocumentCounts(340, 100, 0, 240), {}, {}, {}, rounds=rounds, requests=20, model="<b>gemma</b>"
        )
    return read_artifact(path)


ROUNDS = {
    "ar": [Round(10, 0, 170, {"format": 20, "similar": 50}, 3, 100), Round(10, 1, 100, {"similar": 75}, 0, 25)],
    "id": [Round(10, 0, 170, {"format": 17}, 0, 153), Round(10, 0, 0, {}, 0, 0)],
}


def test_it_says_what_was_written_and_taken(tmp_path):
    page = render("A run", sections_of([made(tmp_path, ROUNDS)], None, None))
    assert "wrote 440 tasks; 63.2% were taken: 125 in Arabic, 153 in Indonesian" in page
    assert "&lt;b&gt;gemma" in page
    assert "<b>gemma" not in page


def test_the_figure_shows_shares_by_round():
    from diglot.report.figures import Colours

    figure = passed(ROUNDS, Colours(["ar", "id"], {}))
    values = [list(trace.y) for trace in figure.data]
    assert values == [
        [100 * 150 / 170, 100.0], [100 * 100 / 170, 25.0],  # Arabic: before the check of likeness, and after it
        [90.0, None], [90.0, None],
    ]  # fmt: skip
