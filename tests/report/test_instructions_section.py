"""The report's section about the size of instructions: its pictures are the numbers of the summaries."""

from pathlib import Path

from diglot.base.artifact import Artifact, read_artifact, writing
from diglot.base.summaries.corpus import ConversationStatistics, CorpusSummary, DocumentCounts, Lengths
from diglot.report.figures import Colours
from diglot.report.instructions import lengths_by_language, lengths_figure, turns_figure, words_table
from diglot.report.page import render, sections_of

STATISTICS = {
    "chat": ConversationStatistics("en", 4, {"1": 3, "12": 1}, Lengths(4, 12, 3.0, [1, 3]), Lengths(4, 100, 25.0, [0, 0, 1, 3])),
    "<b>more": ConversationStatistics("en", 2, {"1": 2}, Lengths(2, 2, 1.0, [2]), Lengths(2, 20, 10.0, [0, 0, 0, 2])),
    "arabic": ConversationStatistics("ar", 5, {"2": 5}, Lengths(10, 30, 3.0, [0, 10]), Lengths(10, 30, 3.0, [0, 10])),
}  # fmt: skip
PAIRS = {"pairs": ConversationStatistics("ar", 1, {"1": 1}, *(Lengths(1, 8, 8.0, [0, 0, 0, 1]) for _ in range(3)))}


def artifact_of(folder: Path, kind: str, statistics: dict[str, ConversationStatistics]) -> Artifact:
    path = folder / kind
    do = f"gather-{kind}"
    with writing(path, stage=kind, kind=kind, do=do, fingerprint="a" * 32, settings={}, inputs={}) as unfinished:
        (unfinished.folder / "ledger.json").write_text('{"sources": {}}')
        unfinished.summary = CorpusSummary(DocumentCounts(9, 9, 0, 0), {}, {}, {}, statistics=statistics)
    found = read_artifact(path)
    assert found is not None
    return found


def test_the_page_has_pictures_and_the_numbers_behind_them(tmp_path: Path) -> None:
    artifacts = [artifact_of(tmp_path, "instructions", STATISTICS), artifact_of(tmp_path, "preferences", PAIRS)]
    assert artifacts[0].summary == CorpusSummary(DocumentCounts(9, 9, 0, 0), {}, {}, {}, statistics=STATISTICS)
    page = render("A run", sections_of(artifacts, None, None))
    assert (
        "11 conversations were kept for training, 54.5% of several turns; a response has 9.38 words on average" in page
    )
    assert "1 preference pairs were kept" in page
    for name in ("instructions-prompts", "instructions-responses", "instructions-turns", "preferences-responses"):
        assert f'"{name}"' in page
    assert "preferences-turns" not in page  # of one turn all
    assert "&lt;b&gt;more" in page
    assert "<b>more" not in page


def test_the_figures_are_shares_by_language() -> None:
    colours = Colours(["en", "ar"], {})
    by_language = lengths_by_language(STATISTICS, "prompts")
    assert by_language == {"en": [3, 3], "ar": [0, 10]}
    figure = lengths_figure(by_language, colours)
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in figure.data] == [
        ("English", ["0–1", "2–3"], [50.0, 50.0]), ("Arabic", ["0–1", "2–3"], [0.0, 100.0]),
    ]  # fmt: skip
    turns = turns_figure(STATISTICS, colours)
    assert list(turns.data[0].x) == ["1", "2", "3", "4", "5", "6", "7", "8+"]
    assert [round(value, 1) for value in turns.data[0].y] == [83.3, 0, 0, 0, 0, 0, 0, 16.7]
    assert list(turns.data[1].y)[:3] == [0, 100, 0]


def test_the_numbers_behind_them_are_by_source() -> None:
    rows = [[cell.text for cell in row] for row in words_table(STATISTICS | PAIRS).rows]
    assert rows[1] == ["chat", "English", "responses", "0", "0", "1", "3"]
    assert [row[2] for row in rows[-3:]] == ["prompts", "responses", "rejected"]
