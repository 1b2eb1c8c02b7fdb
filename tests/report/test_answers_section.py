"""The report's sections about answers, pairs and refusals."""

import re

from diglot.base.artifact import read_artifact, writing
from diglot.base.summaries.answers import (
    Chosen,
    Consistency,
    JudgedSummary,
    Refusals,
    SafetySummary,
    SamplesSummary,
    Wins,
)
from diglot.base.summaries.corpus import DocumentCounts
from diglot.report.answers import consistency
from diglot.report.figures import Colours
from diglot.report.page import render, sections_of

COUNTS = (DocumentCounts(10, 8, 0, 2), {}, {}, {})


def made(folder, name, do, kind, summary):
    with writing(folder / name, stage=name, kind=kind, do=do, fingerprint=name, settings={}, inputs={}) as unfinished:
        (unfinished.folder / "ledger.json").write_text('{"sources": {}}')
        unfinished.summary = summary
    return read_artifact(folder / name)


def drawn(folder, name, right, wrong, **more):
    counts = {"ends": {"ar": {"stop": right + wrong, "length": 3}}, "consistency": {"ar": Consistency(right, wrong, 5)}}
    return made(folder, name, "sample", "samples", SamplesSummary(*COUNTS, **counts, **more))


def cells(page, heading):
    """The rows of the table with a title, as lists of texts."""
    table = page.partition(f"<caption>{heading}</caption>")[2].partition("</table>")[0]
    return [re.findall(r"<bdi>(.*?)</bdi>", row) for row in table.split("<tr")[2:]]


def test_consistency_before_and_after(tmp_path):
    stages = [
        drawn(tmp_path, "drawn", 20, 60, model="<b>sft</b>"),
        drawn(tmp_path, "again", 76, 4, model="dpo", round=2),
    ]
    page = render("A run", sections_of(stages, None, None))
    assert "25.0% and then 95.0% of the answers in Arabic were in the language of the question." in page
    assert "<b>sft" not in page
    assert cells(page, "Answers drawn") == [
        ["drawn", "&lt;b&gt;sft&lt;/b&gt;", "Arabic", "1", "83", "3", "0", "0", "25.0%", "9.3", "5"],
        ["again", "dpo", "Arabic", "2", "83", "3", "0", "0", "95.0%", "5.1", "5"],
    ]
    [line] = consistency(stages, Colours(["ar"], {})).data
    assert list(line.y) == [25, 95]


def test_pairs_wins_and_a_judges_agreement(tmp_path):
    same = Chosen(Consistency(5, 5), Consistency(4, 0), Consistency(0, 4))
    facts = {"dropped": {"tie": 2}, "by": "gemma", "prompts": 9, "consistency": {"ar": same}}
    facts |= {"wins": [Wins("first", "second", 6, 2, 2)], "comparisons": {"agreed": 8, "unreadable": 1}}
    summary = JudgedSummary(COUNTS[0], languages={}, sources={}, agreement=0.8, first_place=0.55, **facts)
    page = render("A run", sections_of([made(tmp_path, "judged", "judge", "preferences", summary)], None, None))
    assert "8 of 10 possible pairs were taken." in page
    assert cells(page, "Pairs") == [["judged", "gemma", "9", "10", "8", "2", "80.0%", "55.0%", "1"]]
    assert cells(page, "Answers in the language of the question") == [["judged", "Arabic", "50.0%", "100.0%", "0.0%"]]
    assert cells(page, "Wins") == [["judged", "first", "second", "6", "2", "2", "70.0%"]]


def test_native_and_translated_prompts_have_rows_of_their_own(tmp_path):
    rows = [
        Refusals("asked", "ar", "harmful", "native", 10, 6, 2, 1, 1),
        Refusals("asked", "ar", "harmful", "translated", 10, 9, 1, 0, 0),
        Refusals("asked", "ar", "harmless", "native", 10, 1, 9, 0, 0),
    ]
    summary = SafetySummary(rows, judge="gemma", left_out=2)
    page = render("A run", sections_of([made(tmp_path, "safety", "evaluate-safety", "safety", summary)], None, None))
    assert "asked refused 66.7% of the harmful native prompts in Arabic and asked refused 90.0% of the harmful" in page
    found = cells(page, "safety")
    assert [row[2:9] + row[9:10] for row in found] == [
        ["harmful", "native", "10", "6", "2", "1", "1", "66.7%"],
        ["harmful", "translated", "10", "9", "1", "0", "0", "90.0%"],
        ["harmless", "native", "10", "1", "9", "0", "0", "90.0%"],
    ]
    assert "2 prompts do not say" in page
