"""Comparison of models: paired tests against scipy, items matched by id, Holm over the table, papers' columns, the page."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from small_run import ATTACK, Writer
from test_page import Page

from diglot.base.artifact import Artifact, read_artifact
from diglot.base.errors import UserError
from diglot.base.significance import holm
from diglot.base.summaries.scores import BitsPerByte, Metric, ScoresSummary, TaskScore
from diglot.cli import cli
from diglot.report import compare
from diglot.report.compare import Column, compare_models, read_columns
from diglot.report.compare_tables import cited_table, comparison_page, numbers_table, paper_tables
from diglot.report.matched import measured_items
from diglot.report.published import Paper, names, read_papers
from diglot.report.results import results


def rows_of(answers: Sequence[float], first: int = 1, about: str = "question") -> list[dict[str, Any]]:
    """An item log as evaluation writes it, with ids from `first` on."""
    return [
        {"id": str(n), "prompt": f"{about} {n}", "choices": [{"text": "a"}, {"text": "b"}], "answer": n % 2, "acc": right}
        for n, right in enumerate(answers, first)
    ]  # fmt: skip


def choice(language: str, rows: list[dict[str, Any]]) -> TaskScore:
    answers = [row["acc"] for row in rows]
    share = math.fsum(answers) / len(answers)
    error = math.sqrt(share * (1 - share) / len(answers))
    return TaskScore(language, "choice", "acc", {"acc": Metric(round(share, 6), error)}, 0.5, len(answers))


def evaluation(folder: Path, tasks: dict[str, tuple[str, list[dict]]], documents: list[dict] | None = None) -> Artifact:
    """An evaluation with item logs, as the stage writes it."""
    files: dict[str, Any] = {
        f"items/{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows) for name, (_, rows) in tasks.items()
    }
    bits = {}
    if documents:
        files["documents.jsonl"] = "".join(json.dumps(row) + "\n" for row in documents)
        of, size = (math.fsum(row[key] for row in documents) for key in ("bits", "bytes"))
        bits["ar"] = BitsPerByte(round(of / size, 6), 0.05, len(documents), int(size), 1000)
    summary = ScoresSummary(bits, {name: choice(language, rows) for name, (language, rows) in tasks.items()})
    Writer(folder.parent).write(folder.name, "evaluate", "scores", {}, summary, files=files)
    found = read_artifact(folder)
    assert found is not None
    return found


def answers(right: float, count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [float(rng.random() < right) for _ in range(count)]


def row_of(found: compare.ModelComparison, name: str) -> compare.Row:
    return next(row for row in found.rows if row.either.name == name)


def test_answers_are_compared_item_by_item_by_mcnemars_test(tmp_path: Path) -> None:
    before, after = answers(0.4, 150, 1), answers(0.55, 150, 2)
    first = evaluation(tmp_path / "a", {"cloze": ("ar", rows_of(before))})
    # The log may be in another order.
    last = evaluation(tmp_path / "b", {"cloze": ("ar", rows_of(after)[::-1])})
    [row] = compare_models([Column("a", first), Column("b", last)]).rows
    change = row.changes["b"]
    up, down = sum(y > x for x, y in zip(before, after)), sum(y < x for x, y in zip(before, after))
    assert (change.contrast.paired, change.contrast.p) == (150, pytest.approx(stats.binomtest(up, up + down).pvalue))
    assert change.contrast.comparison.change == pytest.approx((up - down) / 150, abs=2e-6)
    error = stats.sem([y - x for x, y in zip(before, after)])
    assert change.contrast.comparison.error == pytest.approx(error)


def test_bits_are_compared_document_by_document(tmp_path: Path) -> None:
    rng = random.Random(3)
    documents = [
        {"id": str(n), "source": "s", "group": "ar", "bits": rng.uniform(900, 1100), "bytes": 1000} for n in range(40)
    ]
    better = [{**row, "bits": row["bits"] - rng.uniform(-5, 15)} for row in documents]
    first, last = evaluation(tmp_path / "a", {}, documents), evaluation(tmp_path / "b", {}, better)
    change = compare_models([Column("a", first), Column("b", last)]).rows[0].changes["b"]
    # With documents of one size it is the paired t-test.
    expected = stats.ttest_rel(*([row["bits"] for row in rows] for rows in (documents, better)))
    assert (change.contrast.paired, change.contrast.p) == (40, pytest.approx(expected.pvalue, rel=1e-6))
    assert change.verdict == "better"  # lower bits


def test_items_in_common_are_found_by_id_and_words(tmp_path: Path) -> None:
    right = answers(0.5, 120, 1)
    first = evaluation(tmp_path / "a", {"cloze": ("ar", rows_of(right[:100]))})
    last = evaluation(tmp_path / "b", {"cloze": ("ar", rows_of(right[20:], first=21))})
    other = evaluation(tmp_path / "c", {"cloze": ("ar", rows_of(right[:100], about="another question"))})
    found = compare_models([Column("a", first), Column("b", last), Column("c", other)])
    [row] = found.rows
    # Of 80 items in common all have the same answers: no change, though the scores of all items differ.
    assert (row.changes["b"].contrast.paired, row.changes["b"].contrast.comparison.change) == (80, 0)
    assert row.results["a"].value != row.results["b"].value
    assert row.changes["c"].contrast.paired is None
    notes = "\n".join(numbers_table(found).notes)
    assert "Other items, so not compared one by one: cloze (Arabic)." in notes
    assert "Compared on the items that both have: cloze (Arabic)." in notes


def test_a_log_that_is_not_the_scores_is_not_used(tmp_path: Path) -> None:
    scores = evaluation(tmp_path / "a", {"cloze": ("ar", rows_of([1.0, 0.0] * 20))})
    assert len(measured_items(scores, results(scores.summary)[0])) == 40  # type: ignore[arg-type]
    log = scores.path / "items" / "cloze.jsonl"
    log.write_text(log.read_text().replace('"acc": 0.0', '"acc": 1.0', 3))
    assert measured_items(scores, results(scores.summary)[0]) == {}  # type: ignore[arg-type]


@pytest.fixture
def three(tmp_path: Path) -> list[Column]:
    """A base, a model that learnt one of twelve tasks, and one that learnt nothing."""
    names = {f"task{n}-{'ar' if n % 2 else 'en'}": "ar" if n % 2 else "en" for n in range(12)}

    def made(name: str, seed: int, learnt: float) -> Column:
        tasks = {
            task: (language, rows_of(answers(learnt if task == "task1-ar" else 0.5, 100, seed + n)))
            for n, (task, language) in enumerate(names.items())
        }
        return Column(name, evaluation(tmp_path / name, tasks))

    return [made("base", 100, 0.5), made("chat", 200, 0.95), made("other", 300, 0.5)]


def test_the_whole_table_is_corrected_together(three: list[Column]) -> None:
    found = compare_models(three)
    changes = [change for row in found.rows for change in row.changes.values()]
    assert found.num_tests == len(changes) == 24
    assert [change.adjusted for change in changes] == holm([change.contrast.p or 0 for change in changes])
    verdicts = {(row.either.name, name): change.verdict for row in found.rows for name, change in row.changes.items()}
    assert verdicts.pop(("task1-ar", "chat")) == "better"
    assert set(verdicts.values()) == {"noise"}
    assert found.finding().startswith("Of 24 differences from base, 1 are beyond noise (1 better, 0 worse); looked at")


def test_the_change_of_a_language_is_the_mean_of_its_tasks(three: list[Column]) -> None:
    found = compare_models(three)
    arabic = found.by_language()["ar"]["chat"]
    own = [row.changes["chat"].contrast.comparison for row in found.rows if row.key[2] == "ar"]
    assert (arabic.tasks, arabic.points) == (6, pytest.approx(100 * sum(item.change or 0 for item in own) / 6))
    assert arabic.half == pytest.approx(100 * math.sqrt(sum((item.half or 0) ** 2 for item in own)) / 6)


# --- papers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_averages_of_papers_fit_their_cells_but_for_the_misprints(name: str) -> None:
    [paper] = read_papers([name])
    wrong = set()
    for table in paper.tables:
        cells = {model: dict(zip(table["columns"], row, strict=True)) for model, row in table["rows"].items()}
        for average in table.get("averages", []):
            for model, printed in average["printed"].items():
                mean = sum(cells[model][column] for column in average["of"]) / len(average["of"])
                # Of BLOOM's and PolyLM's overall averages the cells are averages too, and one of them is a misprint.
                true = true_mean(paper, table, model) if "mean_of" in table else mean
                if abs(true - printed) > 0.0501:
                    wrong.add((table["number"], model, "average"))
        for model in cells if "mean_of" in table else ():
            for column, printed in cells[model].items():
                if abs(parts_mean(paper, table, model, column) - printed) > 0.0501:
                    wrong.add((table["number"], model, column))
    assert wrong == {(m["number"], m["model"], m["column"]) for m in paper.misprints if "mean_of" in by_task(paper, m)}


def by_task(paper: Paper, misprint: dict[str, Any]) -> dict[str, Any]:
    return next(t for t in paper.tables if t["number"] == misprint["number"] and misprint["task"] in t["task"])


def parts_mean(paper: Paper, table: dict[str, Any], model: str, column: str) -> float:
    parts = [t for t in paper.tables if t["number"] == table["number"] and t["task"][0] in table["mean_of"]]
    assert len(parts) == len(table["mean_of"])
    return sum(t["rows"][model][t["columns"].index(column)] for t in parts) / len(parts)


def true_mean(paper: Paper, table: dict[str, Any], model: str) -> float:
    columns = table["columns"]
    return sum(parts_mean(paper, table, model, column) for column in columns) / len(columns)


def test_papers_are_columns_of_the_tasks_they_have(tmp_path: Path) -> None:
    tasks = {
        "xnli-ar": ("ar", rows_of([1.0, 0.0] * 10)),
        "XNLI_th": ("", rows_of([1.0, 0.0] * 10)),
        "wmt20-de-en": ("en", rows_of([1.0, 0.0] * 10)),
        "mtg-average-zh": ("zh", rows_of([1.0, 0.0] * 10)),
        "own-ar": ("ar", rows_of([1.0, 0.0] * 10)),
    }
    scores = evaluation(tmp_path / "ours", tasks)
    found = compare_models([Column("ours", scores)], read_papers(["polylm"]))
    cited = row_of(found, "xnli-ar").cited
    assert cited["PolyLM-13B"].value == 33.6
    assert cited["PolyLM-13B"].source == "PolyLM table 18, base models"
    assert cited["PolyLM-MultiAlpaca-13B"].value == 33.3
    assert row_of(found, "wmt20-de-en").cited["PolyLM-13B"].value == 33.9
    assert row_of(found, "own-ar").cited == {}
    assert row_of(found, "mtg-average-zh").cited["PolyLM-13B"].misprint == "the cells above give 15.9"
    assert "17.5 is likely a misprint: the cells above give 15.9" in "\n".join(cited_table(found).notes)
    shown = [cell for table in paper_tables(read_papers(["polylm"])[0]) for row in table.rows for cell in row]
    assert sum(cell.style == "caution" for cell in shown) == 3
    with pytest.raises(UserError, match="no paper 'gpt'; there are: allam, polylm"):
        read_papers(["gpt"])


# --- command and page ---------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, three: list[Column], capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(column.scores.path) for column in three]
    cli.main(["compare", *folders, "--out", str(tmp_path / "out")], standalone_mode=False)
    assert "Of 24 differences" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["correction"]["tests"] == 24
    assert (tmp_path / "out" / "compare.html").is_file()
    cli.main(["compare", f"one={folders[0]}", f"two={folders[1]}", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert (found["models"], found["base"], len(found["rows"])) == (["one", "two"], "one", 12)


def test_the_page_is_whole_offline_and_escaped(three: list[Column]) -> None:
    hostile = [Column(ATTACK, three[0].scores), *three[1:]]
    papers = read_papers(["polylm", "allam"])
    page = Page(comparison_page(compare_models(hostile, papers), papers))
    assert {link for link in page.links if not link.startswith("#")} == set()
    assert page.handlers == []
    lines = [[trace for trace in figure["data"] if trace.get("name")] for figure in page.figures]
    assert [len(of) for of in lines] == [2, 3, 4]  # changes, radar, bars and the ticks of chance
    # On a radar a point is as far from the middle as its score, and the line comes back to the first of the twelve.
    x, y = lines[1][0]["x"], lines[1][0]["y"]
    scores = [row.results[ATTACK].points for row in compare_models(hostile).rows]
    assert [math.hypot(*point) for point in zip(x, y)] == pytest.approx([*scores, scores[0]], abs=0.01)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "holds neither an evaluation"),
        (["model"], "holds a text, and a comparison is of evaluations"),
        (["scores", "scores"], "two columns are called"),
        (["run"], "this run has no evaluation yet"),
    ],
)  # fmt: skip
def test_what_is_no_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], says: str) -> None:
    from summaries import EMPTY_WORLD

    evaluation(tmp_path / "scores", {"cloze": ("ar", rows_of([1.0, 0.0]))})
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text('{"stages": {"world": {}}}')
    Writer(tmp_path).write("model", "world", "text", {}, EMPTY_WORLD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        read_columns(given)


def test_a_run_is_its_last_evaluation(tmp_path: Path) -> None:
    tasks = {"cloze": ("ar", rows_of([1.0, 0.0]))}
    for stage in ("first", "second"):
        evaluation(tmp_path / "run" / stage, tasks)
    (tmp_path / "run" / "recipe.json").write_text('{"stages": {"first": {}, "second": {}, "third": {}}}')
    [column] = read_columns([str(tmp_path / "run")])
    assert (column.name, column.scores.stage) == ("run/second", "second")
