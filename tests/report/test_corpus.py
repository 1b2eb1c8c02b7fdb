"""The pages about text: everything in the files is on the page, once, escaped, and pictures agree with the numbers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import ATTACK, Writer, ledger, many_sources, signals
from summaries import EMPTY_CORPUS
from test_page import Page

from diglot.base.artifact import Artifact, read_artifact
from diglot.report import corpus
from diglot.report.distributions import BIN, HEIGHT, distributions
from diglot.report.figures import Colours
from diglot.report.page import render, sections_of
from diglot.report.reading import Run
from diglot.report.section import Section


def text_of(artifacts: list[Artifact]) -> Section:
    run = Run(artifacts)
    section = corpus.text(run, Colours(run.languages(), run.source_languages()))
    assert section is not None
    return section


def corpus_of(folder: Path, files: dict[str, Any], settings: dict[str, Any] | None = None) -> Artifact:
    Writer(folder).write("corpus", "curate", "corpus", {}, EMPTY_CORPUS, settings or {"sources": {}}, files)
    found = read_artifact(folder / "corpus")
    assert found is not None
    return found


# --- one source -----------------------------------------------------------------------------------------------


def test_a_source_says_why_and_how_many_break_a_rule_anyway(artifacts: list[Artifact]) -> None:
    page = text_of(artifacts).data["pages"][0]
    assert [tuple(cell.text for cell in row if cell.bar is None) for row in page["reasons"].rows] == [
        ("near duplicate", "410", "3.4%", ""),
        ("wrong language", "260", "2.2%", ""),
        ("max duplicate lines", "190", "1.6%", "195"),
        ("max urls", "120", "1.0%", "125"),
    ]
    assert page["reasons"].rows[0][-1].bar == 100
    assert page["corrected"] == [{"kind": "urls", "documents": "12", "characters": "300"}]


def test_signals_with_a_rule_come_first_and_those_that_say_nothing_are_named_only(artifacts: list[Artifact]) -> None:
    english = text_of(artifacts).data["pages"][0]["signals"]
    assert [item["name"] for item in english["ruled"]] == ["words", "duplicate lines", "urls"]
    assert [item["name"] for item in english["free"]] == ["digits"]
    assert english["constant"] == ["lorem ipsum"]
    words = english["ruled"][0]
    assert words["rule"] == "50 to 100,000"
    assert english["ruled"][2]["rule"] == "at most 20%"
    assert english["ruled"][2]["broken"] == "125 break it (1.0%)"


def test_samples_of_kept_and_dropped_are_shown_and_escaped(artifacts: list[Artifact]) -> None:
    html = render("A run", sections_of(artifacts, None, None))
    page = Page(html)
    assert "<script>alert" not in html
    assert sum(ATTACK in words for words in page.words) >= 4 + 6  # English: a sample a reason, six kept
    kept = text_of(artifacts).data["pages"][1]
    assert len(kept["kept_samples"]) == 6
    assert [group["reason"] for group in kept["samples"]] == [row[0].text for row in kept["reasons"].rows]


# --- over all sources -----------------------------------------------------------------------------------------


def test_clusters_and_lines_are_ordered_and_nothing_is_left_unsaid(artifacts: list[Artifact]) -> None:
    data = text_of(artifacts).data
    assert [(c["size"], c["reason"], len(c["dropped"]), c["more"]) for c in data["clusters"]] == [
        ("9", "near duplicate", 5, "3"),
        ("2", "same url", 1, ""),
    ]
    assert [row[0].text for row in data["lines"].rows] == ["1,200", "71"]


def test_a_language_with_several_sources_has_a_sum(tmp_path: Path) -> None:
    accounts, _ = many_sources()
    data = text_of([corpus_of(tmp_path, {"ledger.json": accounts})]).data
    language, sources, _, kept, *_ = (cell.text for cell in data["languages"].rows[0])
    both = [accounts["sources"][name] for name in ("ar", "web-ar")]
    assert (language, sources) == ("Arabic", "2")
    assert kept == f"{sum(entry['kept']['documents'] for entry in both):,}"
    assert len(data["languages"].rows) == 18


def test_sources_of_the_same_name_in_two_stages_stay_apart(tmp_path: Path) -> None:
    files = {"ledger.json": ledger(), "signals.json": signals()}
    writer = Writer(tmp_path)
    for stage in ("first", "second"):
        writer.write(stage, "curate", "corpus", {}, EMPTY_CORPUS, {"sources": {}}, files)
    found = [read_artifact(tmp_path / stage) for stage in ("first", "second")]
    pages = text_of([artifact for artifact in found if artifact]).data["pages"]
    assert [page["name"] for page in pages] == [
        "english", "arabic", "en-ar", "second/english", "second/arabic", "second/en-ar",
    ]  # fmt: skip
    assert all(page["signals"]["ruled"] for page in pages if "-" not in page["name"])
    assert len({page["place"] for page in pages}) == 6


def test_sources_sorted_by_language_have_their_language(tmp_path: Path) -> None:
    settings = {"sources": {"web": {"path": "x", "language": None, "languages": ["ar", "th"]}}}
    run = Run([corpus_of(tmp_path, {}, settings)])
    assert run.languages() == ["ar", "th"]
    assert run.source_languages() == {"web-ar": "ar", "web-th": "th"}


def test_thirty_six_sources_with_all_signals_are_still_a_page(tmp_path: Path) -> None:
    accounts, measured = many_sources()
    files = {"ledger.json": accounts, "signals.json": measured}
    html = render("Many", sections_of([corpus_of(tmp_path, files)], None, None))
    page = Page(html)
    assert page.tags["svg"] > 36 * 50
    without = render("One", sections_of([], None, None))
    assert len(html) - len(without) < 4_000_000  # plotly.js alone has 4.5 million
    assert len(page.figures) < 5  # live figures are slow to draw


def test_a_corpus_without_the_newer_files_is_shown_all_the_same(tmp_path: Path) -> None:
    account = ledger()
    for entry in account["sources"].values():
        for key in ("unconditional", "kept_samples", "samples", "corrected"):
            entry.pop(key)
    data = text_of([corpus_of(tmp_path, {"ledger.json": account})]).data
    assert (data["clusters"], data["lines"]) == ([], None)
    Page(render("Old", sections_of([corpus_of(tmp_path / "again", {"ledger.json": account})], None, None)))


# --- pictures -------------------------------------------------------------------------------------------------

READ = {"read": {"documents": 1000}}


def areas(path: str) -> list[float]:
    """The heights of a step path's bins, from the base."""
    base = float(re.match(r"M0 ([\d.]+)", path)[1])  # type: ignore[index]
    heights = []
    for y, width in re.findall(r"V([\d.]+)h(\d+)", path):
        heights += [abs(float(y) - base)] * (int(width) // BIN)
    return heights


counts = st.lists(st.integers(0, 10**9), min_size=6, max_size=6)
limit = st.none() | st.floats(-10, 10)


@given(kept=counts, dropped=counts, low=limit, high=limit)
def test_pictures_stay_inside_and_show_every_document_and_limit(
    kept: list[int], dropped: list[int], low: float | None, high: float | None
) -> None:
    signal = {"edges": [0.0, 0.1, 0.2, 1.0, 2.0, 5.0, 8.0], "kept": kept, "dropped": dropped, "low": low, "high": high}
    found = distributions({"urls": signal}, READ)
    if not any(kept + dropped):
        assert found == {"ruled": [], "free": [], "constant": []}
        return
    if found["constant"]:
        assert low is None
        assert high is None
        return
    item = (found["ruled"] or found["free"])[0]
    for counted, path in ((kept, item["kept"]), (dropped, item["dropped"])):
        heights = areas(path)
        assert len(heights) == item["width"] // BIN
        # Every bin with documents is in the picture; bin by bin the squares of heights are as the counts.
        shown = [height for height in heights if height > 0.05]
        assert len(shown) <= sum(count > 0 for count in counted)
        if sum(count > max(kept + dropped) / 100 for count in counted):
            assert len(shown) >= sum(count > max(kept + dropped) / 100 for count in counted)
    ys = [float(y) for path in (item["kept"], item["dropped"]) for y in re.findall(r"V([\d.]+)", path)]
    assert all(0 <= y <= HEIGHT for y in ys)
    assert all(0 <= mark <= item["width"] for mark in item["marks"])
    assert len(item["marks"]) == (low is not None) + (high is not None)


def test_kept_go_up_and_dropped_go_down_and_the_limit_lies_where_it_should() -> None:
    edges = [index / 20 for index in range(21)]
    kept, dropped = [100, 25, 4, 0] + [0] * 16, [0, 0, 0, 0, 16, 0] + [0] * 14
    signal = {"edges": edges, "kept": kept, "dropped": dropped, "low": None, "high": 0.2}
    item = distributions({"urls": signal}, READ)["ruled"][0]
    up, down = areas(item["kept"]), areas(item["dropped"])
    assert [round(height / up[0], 1) for height in up[:4]] == [1.0, 0.5, 0.2, 0.0]
    assert down[4] / up[0] == pytest.approx(0.4, abs=0.02)
    assert item["marks"] == [4 * BIN]
    assert item["forbidden"] == [(4 * BIN, BIN)]
    assert item["ends"] == ["0%", "25%"]


# --- judges ---------------------------------------------------------------------------------------------------


def test_quality_models_show_every_number_by_language(artifacts: list[Artifact]) -> None:
    section = corpus.judges(Run(artifacts), Colours([], {}))
    assert section is not None
    model = section.data["models"][0]
    assert [column.heading for column in model["table"].columns] == [
        "language", "held out", "perplexity", "perplexity, 50% of documents", "AUC", "threshold", "precision", "recall",
    ]  # fmt: skip
    assert [[cell.text for cell in row] for row in model["table"].rows] == [
        ["English", "500", "141.2", "120", "–", "–", "–", "–"],
        ["Arabic", "480", "388", "300", "0.974", "612.5", "0.95", "0.9"],
    ]
    assert section.finding == "ngram judges English and Arabic. learnt learnt 3 limits for 2 languages from reference text."  # fmt: skip


def test_learnt_limits_are_a_table_of_rules_by_language(artifacts: list[Artifact]) -> None:
    section = corpus.judges(Run(artifacts), Colours([], {}))
    assert section is not None
    table = section.data["rules"][0]["table"]
    headings = [column.heading for column in table.columns]
    assert headings == ["rule", "English", "Arabic"]  # Indonesian had too little text to learn from
    assert {rule.text: [(cell.text, cell.detail) for cell in cells] for rule, *cells in table.rows} == {
        "max urls": [("≤ 12.5%", "≤ 20%, costs 0.4%"), ("≤ 20%", "≤ 20%, costs 1.0%")],
        "min words": [("≥ 31", "≥ 50, costs 5.0%"), ("–", "")],
    }


def test_figures_of_many_sources_are_json(tmp_path: Path) -> None:
    accounts, _ = many_sources()
    figure = json.loads(text_of([corpus_of(tmp_path, {"ledger.json": accounts})]).data["plots"][0].json)
    for index in range(36):
        assert sum(trace["x"][index] for trace in figure["data"]) == pytest.approx(100)
