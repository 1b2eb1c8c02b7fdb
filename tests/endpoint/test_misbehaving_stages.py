"""Servers that misbehave, below the stages that ask for answers, verdicts, refusals and tasks.

A trouble that passes ends the run with an error that says what it was; the next run asks for what is missing, and ends as if
nothing had been. One that is about a single request is counted, and ends nothing. No key goes to another host.
"""

import functools
import json
import re
from collections import Counter

import pytest
from answering import run_stage, samples
from chat_server import Server
from raw_server import RawServer, http

from diglot.align import self_instruct
from diglot.base.artifact import Context, Inputs
from diglot.base.errors import UserError
from diglot.recipe.answers import EvaluateSafety, Judge, Sample
from diglot.recipe.endpoint import Endpoint
from diglot.recipe.self_instruct import SelfInstruct

SECRET = "sk-Zq81-do-not-tell"
PASSING = {  # and what is said of each
    "busy": "answered 429: slow down",
    "busy without a time": "answered 429: slow down",
    "crash": "answered 500: internal error",
    "hang": r"gave no answer in 0\.5 s \(endpoint.timeout\)",
    "hang up": "broke the connection off",
    "come back tomorrow": "asks to wait for 86,400 s|answered 429",
    "broke": "no credit left",
}
UNREADABLE = {
    "no JSON": "answered something that is no chat completion",
    "no choices": "answered something that is no chat completion",
    "page": "no chat completion .*hotel",
    "half a character": "answered something that is no chat completion",
}
ABOUT_ONE = ("refuse", "filter")
GOOD, WRONG = "تقع القاهرة على ضفاف نهر النيل.", "Cairo lies on the banks of the Nile."
STAGES = ("sample", "judge", "evaluate-safety", "self-instruct")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    rules = [{"word": f"[{what}]", "times": 1, "do": what} for what in (*PASSING, *UNREADABLE)]
    rules += [{"word": f"[{what}]", "times": 99, "do": what} for what in ABOUT_ONE]
    started = Server(tmp_path_factory.mktemp("server"), rules=rules, key=SECRET)
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)


def asking(folder, kind, url, word, name="made", **endpoint):
    """Run a stage of a kind on texts that hold a word; two of its requests do, or all three prompts of self-instruct."""
    given = {"url": url, "model": "tiny", "retries": 0, "timeout": 0.5 if word == "[hang]" else 20.0, "concurrency": 1}
    server = Endpoint(**{**given, "key_variable": "MY_KEY", **endpoint})
    asked = [(f"{kind}\n\n{word} 1؟", [GOOD, WRONG]), (f"{kind}\n\nفي أي بلد؟", [WRONG, GOOD])]
    run = functools.partial(run_stage, folder, name, scratch="kept")
    if kind == "sample":
        file = folder / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": question}) + "\n" for question, _ in asked))
        sources = {"mine": {"path": str(file), "language": "ar"}}
        return run(Sample(endpoint=server, sources=sources, answers=2), {}).summary
    if kind == "self-instruct":
        return instructed(folder, name, server, word)
    drawn = {"samples": [samples(folder, f"{name}.drawn", asked, kind="harmful", origin="native")]}
    if kind == "judge":
        return run(Judge(endpoint=server, held_out=0), drawn).summary
    return run(EvaluateSafety(endpoint=server), drawn).summary


def instructed(folder, name, server, word):
    """A round of three prompts, each of which shows all three seed tasks."""
    file = folder / "seeds.jsonl"
    words = [f"{word} اكتب رسالة قصيرة إلى صديقك عن رحلتك.", "ما هي عاصمة مصر؟", "رتب هذه الأعداد."]
    file.write_text("".join(json.dumps({"instruction": one, "output": "نعم."}) + "\n" for one in words))
    for place in (folder / name, folder / "kept"):
        place.mkdir(exist_ok=True)
    settings = SelfInstruct(endpoint=server, languages=["ar"], seed_tasks={"ar": str(file)}, rounds=1, first_prompts=3)
    return self_instruct.run(settings, Inputs({}), folder / name, Context("made", 0, folder / "kept"))


def some(troubles):
    """Every stage with every trouble; those beside the first of each are for `full`."""
    first = next(iter(troubles))
    return [
        pytest.param(kind, trouble, marks=[] if kind == "sample" or trouble == first else pytest.mark.full)
        for trouble in troubles
        for kind in STAGES
    ]


def unanswered(kind, summary):
    """How many requests were given up; of what was answered nothing is missing."""
    if kind == "sample":
        ends = summary.ends["ar"]
        assert sum(ends.values()) == 4
        return ends.get("refused", 0)
    if kind == "judge":
        assert sum(summary.comparisons.values()) == 2
        return summary.comparisons.get("refused", 0)
    if kind == "self-instruct":
        [only] = summary.rounds["ar"]
        assert only.tasks == 17 * (only.prompts - only.refused)
        return only.refused
    [row] = summary.rows
    assert (row.answers, row.complied) == (4, 4 - row.unread)
    return row.unread


def until_done(folder, kind, url, word):
    """Run a stage until it ends; its summary, and the errors on the way."""
    said = []
    for attempt in range(9):
        try:
            return asking(folder, kind, url, word, f"made{attempt}"), said
        except UserError as error:
            said.append(str(error))
            assert SECRET not in str(error)
    raise AssertionError(said)


@pytest.mark.parametrize(("kind", "trouble"), some(PASSING))
def test_a_trouble_that_passes_costs_a_run_and_no_answer(server, tmp_path, kind, trouble):
    before = len(server.requests)
    summary, said = until_done(tmp_path, kind, server.url, f"[{trouble}]")
    assert said
    assert all(re.search(PASSING[trouble], text) for text in said)
    assert unanswered(kind, summary) == 0
    # What was answered is not asked again: every request comes once, and once more where it met the trouble.
    asked = Counter(json.dumps(request["body"], sort_keys=True) for request in server.requests[before:])
    assert max(asked.values()) <= 2
    assert asked.total() - len(asked) == len(said)


@pytest.mark.parametrize(("kind", "trouble"), some(UNREADABLE))
def test_an_answer_that_is_none_ends_a_run_or_is_counted(server, tmp_path, kind, trouble):
    """It ends the run where nothing was answered yet; later it is about one request, which is given up."""
    before = len(server.requests)
    summary, said = until_done(tmp_path, kind, server.url, f"[{trouble}]")
    assert all(re.search(UNREADABLE[trouble], text) for text in said)
    asked = Counter(json.dumps(request["body"], sort_keys=True) for request in server.requests[before:])
    troubled = len({one for one in asked if f"[{trouble}]" in json.loads(one)["messages"][-1]["content"]})
    assert 0 < len(said) + unanswered(kind, summary) <= troubled


@pytest.mark.parametrize(("kind", "trouble"), some(ABOUT_ONE))
def test_a_request_that_is_refused_is_counted_and_ends_nothing(server, tmp_path, kind, trouble):
    if kind == "self-instruct":
        with pytest.raises(UserError, match="nothing to train on"):  # every prompt shows the seed that is refused
            asking(tmp_path, kind, server.url, f"[{trouble}]")
        return
    summary = asking(tmp_path, kind, server.url, f"[{trouble}]")
    if kind == "sample":
        assert summary.ends == {"ar": {"refused": 2, "stop": 2}}
        assert summary.dropped == {"no_answer": 1}
    elif kind == "judge":
        assert summary.comparisons == {"refused": 1, "agreed": 1}
        assert summary.dropped == {"unreadable": 1}
    else:
        [row] = summary.rows
        assert (row.answers, row.unread, row.complied) == (4, 2, 2)


@pytest.mark.parametrize("kind", STAGES)
def test_a_redirect_gets_neither_the_key_nor_the_question(tmp_path, kind):
    other = RawServer(http({"choices": [{"message": {"content": "x"}}]}))
    server = RawServer(http(b"", "307 Temporary Redirect", location=f"http://127.0.0.1:{other.port}/v1"))
    with pytest.raises(UserError, match=r"redirects to .*nothing was sent there") as error:
        asking(tmp_path, kind, server.url, "[x]")
    assert SECRET not in str(error.value)
    assert not other.requests


@pytest.mark.parametrize("kind", STAGES)
def test_a_missing_key_is_said_at_once(server, tmp_path, kind, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    before = len(server.requests)
    with pytest.raises(UserError, match=r"401.*NO_KEY, and it is not set"):
        asking(tmp_path, kind, server.url, "[x]", key_variable="NO_KEY")
    assert len(server.requests) == before + 1
