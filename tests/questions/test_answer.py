"""Answers to questions of several turns: history, temperatures by category, a resume, and what was not answered."""

import json

import pytest
from judge_server import FILES, lines

from diglot.base.artifact import Inputs
from diglot.base.errors import UserError
from diglot.questions.answer import run
from diglot.read.answers import read_answers, read_questions
from diglot.recipe.questions import AnswerQuestions


def test_turns_follow_their_own_answers_at_the_temperature_of_their_category(server, endpoint, made) -> None:
    output, context = made("ours")
    server.answer = lambda messages: f"{messages[-1]['content'][::-1]} (quality 5)"
    settings = AnswerQuestions(
        endpoint=endpoint("model"), questions=FILES, temperatures={"humanities": 0.4}, system="Be brief."
    )
    summary = run(settings, Inputs({}), output, context)
    assert (summary.questions, summary.failed, summary.tokens) == (
        {"en": 4, "ar": 4},
        {},
        {"prompt": 160, "completion": 80},
    )
    rows = lines(output / "answers.jsonl")
    assert [row["id"] for row in rows] == [f"{language}/{n}" for language in ("en", "ar") for n in range(1, 5)]
    assert rows[5]["references"] == ["48", "24"]
    for row in rows:
        assert row["answers"] == [f"{turn[::-1]} (quality 5)" for turn in row["turns"]]
    later = [body for body in server.bodies if len(body["messages"]) == 4]
    by_turn = {row["turns"][1]: row for row in rows}
    wanted = {"writing": 0.7, "math": 0.0, "reasoning": 0.0, "humanities": 0.4}
    for body in later:
        row = by_turn[body["messages"][-1]["content"]]
        assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
        assert [m["content"] for m in body["messages"]] == [
            "Be brief.",
            row["turns"][0],
            row["answers"][0],
            row["turns"][1],
        ]
        assert (body["temperature"], body["max_tokens"]) == (wanted[row["category"]], 1024)
    assert len(later) == 8


def test_it_goes_on_where_it_was(server, endpoint, made) -> None:
    output, context = made("ours")
    settings = AnswerQuestions(endpoint=endpoint("model"), questions=FILES, max_total_tokens=100)
    with pytest.raises(UserError, match="max_total_tokens"):
        run(settings, Inputs({}), output, context)
    asked = len(server.bodies)
    assert 0 < asked < 16
    run(settings.model_copy(update={"max_total_tokens": None}), Inputs({}), output, context)
    assert len(server.bodies) == 16
    assert len({json.dumps(body) for body in server.bodies}) == 16


def test_a_question_that_was_not_answered_whole_is_counted_and_left_out(server, endpoint, made) -> None:
    output, context = made("ours")
    server.answer = lambda messages: None if "12 apples" in messages[0]["content"] and len(messages) > 1 else "" if "القرية" in messages[-1]["content"] or "قريتك" in messages[-1]["content"] else "Yes."  # fmt: skip
    summary = run(AnswerQuestions(endpoint=endpoint("model"), questions=FILES), Inputs({}), output, context)
    assert (summary.questions, summary.failed) == ({"en": 3, "ar": 3}, {"en": 1, "ar": 1})
    assert [row["id"] for row in lines(output / "answers.jsonl")] == ["en/1", "en/3", "en/4", "ar/2", "ar/3", "ar/4"]
    assert summary.warnings() == [
        "1 questions in en were not answered whole",
        "1 questions in ar were not answered whole",
    ]
    # An empty first answer is no reason to ask what follows from it.
    assert not [body for body in server.bodies if body["messages"][-1]["content"] == "اجعلها الآن في نصف طولها."]


def test_nothing_answered_is_an_error(server, endpoint, made) -> None:
    server.answer = lambda messages: ""
    output, context = made("ours")
    with pytest.raises(UserError, match="model answered no question whole"):
        run(
            AnswerQuestions(endpoint=endpoint("model"), questions={"en": FILES["en"]}, limit=1),
            Inputs({}),
            output,
            context,
        )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("3", "a line is a JSON object"),
        ('{"turns": []}', "turns: at least one text"),
        ('{"turns": "one"}\n{"turns": [1]}', "questions.jsonl:2: turns: a list of texts"),
        ('{"turns": ["a", "b"], "reference": ["x"]}', "2 turns and 1 reference answers"),
        ('{"question_id": 1, "turns": ["a"]}\n{"question_id": 1, "turns": ["a"]}', "comes twice"),
        ("", "holds no questions"),
    ],
)
def test_questions_that_cannot_be_asked(tmp_path, line, says) -> None:
    (tmp_path / "questions.jsonl").write_text(line)
    with pytest.raises(UserError, match=says):
        read_questions("en", str(tmp_path / "questions.jsonl"), None)


def test_mt_benchs_own_questions_are_read(data) -> None:
    found = read_questions("en", str(data / "eval" / "mt_bench" / "question.jsonl"), None)
    assert len(found) == 40
    assert {len(question.turns) for question in found} == {2}
    assert {"writing", "math", "coding", "stem"} <= {question.category for question in found}


def test_one_turn_may_be_a_prompt(tmp_path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"language": "ar", "prompt": "من؟", "answer": "أنا"}')
    [answered] = read_answers(tmp_path / "answers.jsonl")
    assert (answered.id, answered.turns, answered.answers, answered.category) == ("1", ["من؟"], ["أنا"], "other")
