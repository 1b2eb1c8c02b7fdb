"""A judge of answers: means by turn, language and category, pairs in both orders, agreement with itself and with people."""

import json
from pathlib import Path

import pytest
from judge_server import FILES, lines

from diglot.base.artifact import Artifact, Inputs
from diglot.base.errors import UserError
from diglot.base.ratings import agreement
from diglot.base.summaries.judgements import JudgementsSummary
from diglot.questions.judge import run
from diglot.read.answers import read_questions
from diglot.recipe.questions import JudgeAnswers
from diglot.report.judgements import judgements
from diglot.report.reading import Run
from diglot.serve.arena.votes import Votes, export

# By model, question and turn: what the judge finds that an answer is worth.
QUALITY = {
    "ours": {"en/1": (6, 4), "en/2": (8, 2), "en/3": (5, 5), "en/4": (7, 7), "ar/1": (9, 9), "ar/2": (9, 7), "ar/3": (4, 4), "ar/4": (8, 6)},
    "peer": {"en/1": (6, 6), "en/2": (3, 3), "en/3": (5, 6), "en/4": (2, 9), "ar/1": (2, 1), "ar/2": (9, 8), "ar/3": (4, 4), "ar/4": (1, 1)},
}  # fmt: skip


def write_answers(folder: Path, model: str) -> Path:
    rows = []
    for language, path in FILES.items():
        for question in read_questions(language, path, None):
            answers = [f"{model} says {n} (quality {q})" for n, q in enumerate(QUALITY[model][question.id], start=1)]
            rows.append({**vars(question), "answers": answers})
    folder.mkdir(exist_ok=True)
    file = folder / "answers.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Our answers as a stage's artifact; the peer's are a file."""
    write_answers(tmp_path / "ours", "ours")
    write_answers(tmp_path / "peer", "peer")
    empty = JudgementsSummary({}, {}, {}, [], {}, None, None, None, None, 0, {}, 0.0, "")
    return Inputs(
        {"answers": [Artifact(tmp_path / "ours", "ours", "answers", "answer-questions", "", "", {}, {}, empty, {})]}
    )


@pytest.fixture
def judged(inputs, endpoint, made, tmp_path):
    """Judge with settings; the summary and the folder."""

    def judge(name: str = "judged", **settings):
        output, context = made(name)
        files = {"peer": str(tmp_path / "peer" / "answers.jsonl")}
        return run(JudgeAnswers(endpoint=endpoint("judge"), files=files, **settings), inputs, output, context), output

    return judge


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def test_means_by_turn_language_and_category(judged) -> None:
    summary, output = judged()
    for model, of in QUALITY.items():
        for language in FILES:
            own = [turns for id_, turns in of.items() if id_.startswith(language)]
            found = summary.scores[model][language]
            for turn in (0, 1):
                assert found[str(turn + 1)].mean == pytest.approx(mean(turns[turn] for turns in own))
            assert found["all"].mean == pytest.approx(mean(q for turns in own for q in turns))
            assert (found["1"].scores, found["all"].scores) == (4, 8)
        assert summary.categories[model]["ar"]["math"].mean == mean(of["ar/2"])
    # Over questions: of the means of both turns, as those depend on each other.
    both = [mean(turns) for id_, turns in QUALITY["ours"].items() if id_.startswith("en")]
    middle = mean(both)
    error = (sum((each - middle) ** 2 for each in both) / 3 / 4) ** 0.5
    assert summary.scores["ours"]["en"]["all"].standard_error == pytest.approx(error, abs=1e-6)
    assert summary.means["ours"] == pytest.approx(6.25)
    assert summary.unreadable == {}
    rows = lines(output / "scores.jsonl")
    assert {(row["model"], row["id"], row["turn"]): row["score"] for row in rows} == {
        (model, id_, turn + 1): turns[turn]
        for model, of in QUALITY.items()
        for id_, turns in of.items()
        for turn in (0, 1)
    }


def test_the_judge_sees_the_conversation_and_the_reference_where_it_is_due(judged, server) -> None:
    judged(pairs="none", reference_categories=["math"])
    prompts = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(prompts) == 32
    assert {body["temperature"] for body in server.bodies} == {0.0}
    [second] = [prompt for prompt in prompts if "peer says 2" in prompt and "And if half of them are sold?" in prompt]
    for part in (
        "[user]\nA basket holds 12 apples.",
        "[assistant]\npeer says 1",
        "[user]\nAnd if half",
        "reference answer>>\n24",
    ):
        assert part in second
    [reasoning] = [
        prompt for prompt in prompts if "answer>>\nours says 1" in prompt and "Who is the shortest?" in prompt
    ]
    assert "reference answer" not in reasoning.partition("<<")[2]


def test_pairs_are_asked_in_both_orders(judged, server) -> None:
    summary, output = judged()
    expected = {language: [0, 0, 0] for language in FILES}
    for id_, turns in QUALITY["ours"].items():
        for turn in (0, 1):
            ours, peer = turns[turn], QUALITY["peer"][id_][turn]
            expected[id_[:2]][0 if ours > peer else 1 if peer > ours else 2] += 1
    assert {pair.language: [pair.wins, pair.losses, pair.ties] for pair in summary.pairs} == expected
    assert (summary.settled, summary.itself, summary.first_place) == ({"agreed": 16}, 1.0, 0.5)
    row = next(row for row in lines(output / "pairs.jsonl") if (row["id"], row["turn"]) == ("en/2", 2))
    assert (row["winner"], row["how"], row["forward"], row["backward"]) == ("second", "agreed", "B", "A")
    asked = next(b["messages"][-1]["content"] for b in server.bodies if "answer A>>\npeer says 1 (quality 3)" in b["messages"][-1]["content"] and "says 2" in b["messages"][-1]["content"])  # fmt: skip
    assert "[user]\nAnd if half of them are sold?\n\n[assistant]\npeer says 2 (quality 3)" in asked
    assert "judge the last answer of each" in asked


def test_a_judge_that_prefers_a_place_or_rambles_is_found_out(judged, server) -> None:
    """Of pairs about the village it always says A, and of one question nothing that can be read."""
    village = ("your village", "قريتك")

    def verdict(prompt: str, said: str) -> str:
        if "answer A>>" in prompt and any(word in prompt for word in village):
            return "Verdict: A"
        return "It depends." if "beside rivers" in prompt else said

    server.verdict = verdict
    summary, output = judged()
    pairs = lines(output / "pairs.jsonl")
    settled = {"disagreed": 4, "unreadable": 2, "agreed": 10}
    assert summary.settled == settled
    assert summary.itself == pytest.approx(10 / 14)
    assert summary.unreadable == {"ours": 2, "peer": 2}
    assert summary.scores["ours"]["en"]["1"].scores == 3
    named = [row[side] for row in pairs for side in ("forward", "backward") if row[side] in ("A", "B")]
    assert summary.first_place == pytest.approx(named.count("A") / len(named))
    assert summary.first_place > 0.5


def test_the_judge_is_held_against_people(judged, tmp_path) -> None:
    votes = Votes(tmp_path / "arena.sqlite")
    answers = {model: {row["id"]: row for row in lines(tmp_path / model / "answers.jsonl")} for model in QUALITY}

    def vote(question: str, sides: tuple[str, str], choice: str, spoil: str = "") -> None:
        turns = [
            {"question": asked, "first": answers[sides[0]][question]["answers"][n] + spoil, "second": answers[sides[1]][question]["answers"][n]}
            for n, asked in enumerate(answers["ours"][question]["turns"])
        ]  # fmt: skip
        voter = votes.voter(votes.new_voter("ar"))
        assert voter
        votes.vote(votes.begin(voter, question, question[:2], sides, turns).battle, choice)

    # By the last turn the judge says: en/2 peer, en/3 peer, ar/1 ours, ar/3 a tie.
    vote("en/2", ("ours", "peer"), "second")
    vote("en/2", ("peer", "ours"), "first")
    vote("en/3", ("ours", "peer"), "first")
    vote("ar/1", ("peer", "ours"), "second")
    vote("ar/3", ("ours", "peer"), "both_bad")
    vote("ar/1", ("ours", "peer"), "first", spoil="!")  # other answers than those judged
    export(list(votes.records()), tmp_path / "votes.jsonl")
    summary, _ = judged(votes=str(tmp_path / "votes.jsonl"))
    # Shares of "ours", the first by name: judge beside person.
    beside = agreement([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]])
    assert summary.people.pairs == beside.pairs == 5
    assert (summary.people.same, summary.people.same_winner) == (pytest.approx(0.8), pytest.approx(0.75))
    assert summary.people.alpha == pytest.approx(beside.alpha, abs=1e-6)
    assert (summary.among_people.pairs, summary.among_people.same, summary.votes_of_others) == (1, 1.0, 1)
    (tmp_path / "votes.jsonl").write_text('{"question": 1}\n')
    with pytest.raises(UserError, match=r"votes\.jsonl:1: no vote; export the votes again"):
        judged("again", votes=str(tmp_path / "votes.jsonl"))


def test_a_summary_is_read_back_and_reported(judged) -> None:
    summary, output = judged()
    assert JudgementsSummary.from_json(json.loads(json.dumps(summary.as_json()))) == summary
    stage = Artifact(output, "mt-bench", "judgements", "judge-answers", "", "", {}, {}, summary, {})
    section = judgements(Run([stage]), None)
    assert section
    assert section.finding.startswith(
        "judge gives ours 6.25 and peer 4.38 of 10. With both answers in each place it says the same of 100.0%"
    )
    table = section.data["tables"][0]
    assert [(column.heading, column.detail) for column in table.columns] == [
        ("model", ""), ("English", "mean"), ("", "turn 1"), ("", "turn 2"), ("Arabic", "mean"), ("", "turn 1"), ("", "turn 2"), ("not read", ""),
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[0]] == ["ours", "5.50", "6.50", "4.50", "7.00", "7.50", "6.50", "0"]
    assert judgements(Run([]), None) is None


def test_what_cannot_be_judged(inputs, endpoint, made, tmp_path) -> None:
    output, context = made("judged")
    with pytest.raises(UserError, match="nothing to judge"):
        run(JudgeAnswers(endpoint=endpoint("judge")), Inputs({}), output, context)
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "en/1", "language": "en", "prompt": "something else", "answer": "x"}')
    for files, says in (
        ({"ours": str(other)}, "is a stage of `from` too"),
        ({"other": str(other)}, "asked something else under the id 'en/1'"),
    ):
        with pytest.raises(UserError, match=says):
            run(JudgeAnswers(endpoint=endpoint("judge"), files=files), inputs, output, context)
