"""The arena over HTTP: what is shown to whom, anonymous, with one vote each; files and live models; who may not vote."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from arena_server import QUESTIONS, Person, write_answers
from chat_server import Server
from web_server import ask, serving

from diglot.base.errors import UserError
from diglot.evaluate.language_model import LanguageModel
from diglot.read.answers import read_answers
from diglot.serve.arena.app import Arena, application
from diglot.serve.arena.entrants import read_entrants, split_name
from diglot.serve.arena.votes import Votes

NAMES = ["our-model", "their-model", "third-model"]
VOTERS, EACH = 50, 12  # of the test of many at once


def entrants(folder: Path) -> list[tuple[str, str]]:
    return [(name, str(write_answers(folder / f"{name}.jsonl", name))) for name in NAMES]


@pytest.fixture
def votes(tmp_path: Path) -> Iterator[Votes]:
    made = Votes(tmp_path / "arena.sqlite")
    yield made
    made.close()


@pytest.fixture
def arena(tmp_path: Path, votes: Votes) -> Arena:
    given = read_entrants(entrants(tmp_path), "NO_KEY", 32, None)
    return Arena(given, votes, given.languages(), seed=1)


@pytest.fixture
def port(arena: Arena) -> Iterator[int]:
    with serving(application(arena)) as port:
        yield port


def test_a_person_sees_every_pair_once_and_never_whose_answers_they_are(port: int, votes: Votes) -> None:
    person, seen, shown = Person(port).begin(), [], ""
    while "battle" in (battle := person.battle()):
        shown += json.dumps(battle, ensure_ascii=False)
        assert battle["left"] == 9 - len(seen)
        assert person.vote(battle["battle"], "first") == {"taken": True}
        seen.append(battle["turns"][0]["question"])
    assert battle == {"done": True}
    assert Counter(seen) == {turns[0]: 3 for language, turns in QUESTIONS.values() if language == "ar"}
    assert not [name for name in NAMES if name in shown]
    records = list(votes.records())
    assert len({(r["question"], *sorted((r["first"], r["second"]))) for r in records}) == 9
    assert next(r for r in records if r["question"] == "q1")["turns"][1]["question"] == QUESTIONS["q1"][1][1]


def test_the_side_is_drawn(arena: Arena, votes: Votes) -> None:
    who = votes.voter(votes.new_voter("ar"))
    assert who
    drawn = [arena.next_battle(who, "en")[0] for _ in range(120)]
    first = Counter(battle.first < battle.second for battle in drawn if battle)
    assert 30 < first[True] < 90


def test_the_second_person_first_sees_what_the_first_one_did(port: int, votes: Votes) -> None:
    """So that it is known how far people agree; the third one sees what nobody has seen."""
    first, second, third = (Person(port).begin() for _ in range(3))
    for _ in range(2):
        first.vote(first.battle()["battle"], "tie")
    for person in (second, second, third):
        person.vote(person.battle()["battle"], "tie")
    keys = [(r["question"], *sorted((r["first"], r["second"]))) for r in votes.records()]
    assert sorted(keys[:2]) == sorted(keys[2:4])
    assert keys[4] not in keys[:4]


def test_one_vote_a_battle_by_the_one_who_was_shown_it(port: int, votes: Votes) -> None:
    person, other = Person(port).begin(), Person(port).begin()
    battle = person.battle()["battle"]
    asked: list[tuple[Person, str, Any, int]] = [
        (other, "vote", {"battle": battle, "choice": "first"}, 404),
        (Person(port), "vote", {"battle": battle, "choice": "first"}, 401),
        (person, "vote", {"battle": battle, "choice": "best"}, 400),
        (person, "vote", {"battle": battle, "choice": ["first"]}, 400),
        (person, "vote", {"battle": {"a": 1}, "choice": "first"}, 404),
        (person, "vote", [battle], 400),
        (person, "vote", b"{", 400),
        (person, "vote", b"[" * 5000, 400),
        (person, "ask", {"battle": battle, "text": "?"}, 400),
        (person, "battle", {"language": "xx"}, 400),
        (person, "battle", {"language": ["ar"]}, 400),
    ]
    for who, path, value, status in asked:
        assert "error" in who.post(path, value), (path, value)
        assert who.status == status, (path, value)
    assert list(votes.records()) == []
    assert person.vote(battle, "both_bad") == {"taken": True}
    assert person.vote(battle, "first") == {"taken": False}
    assert [record["choice"] for record in votes.records()] == ["both_bad"]


def test_no_other_site_votes(port: int, votes: Votes) -> None:
    person = Person(port).begin()
    battle = person.battle()["battle"]
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert "error" in person.vote(battle, "first", **headers)
        assert person.status == 403
    # What a form of another site could send, were the guard not there.
    assert "error" in person.post(
        "vote", json.dumps({"battle": battle, "choice": "first"}).encode(), content_type="text/plain"
    )
    assert list(votes.records()) == []


def test_the_page_may_run_its_own_script_alone(port: int) -> None:
    status, headers, body = ask(port)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    page = body.decode()
    assert "<script src=" in page
    assert "<style" not in page
    assert " on" not in page.partition("<body>")[2].replace(" one", "").split("<script")[0].replace(" or ", "")
    script = ask(port, path="/arena.js")[2].decode()
    assert not [word for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(") if word in script]
    for path in ("/arena.html", "/../votes.py", "/api/vote"):
        assert ask(port, path=path)[0] in (404, 405)


# --- models that answer live ------------------------------------------------------------------------------------


def test_live_models_answer_with_their_own_history(serve: Callable[..., Server], votes: Votes) -> None:
    servers = [serve("one"), serve("other", rules=[{"word": "", "do": "english", "times": 99}])]
    given = read_entrants(
        [(f"model-{n}", f"{each.url}#tiny") for n, each in enumerate(servers)], "NO_KEY", 32, "Be brief."
    )
    with serving(application(Arena(given, votes, ["en"]))) as port:
        person = Person(port, "en").begin()
        battle = person.battle()
        assert (battle["turns"], battle["left"]) == ([], -1)
        assert "error" in person.vote(battle["battle"], "first")  # nothing was answered yet
        for text in ("  Hello\n\nfirst question ", "Hello\n\nsecond question"):
            turns = person.post("ask", {"battle": battle["battle"], "text": text})["turns"]
        assert [turn["question"] for turn in turns] == ["Hello\n\nfirst question", "Hello\n\nsecond question"]
        assert person.vote(battle["battle"], "second") == {"taken": True}
        assert "error" in person.post("ask", {"battle": battle["battle"], "text": "x" * 8001})
    for name, server in zip(("model-0", "model-1"), servers):
        [record] = votes.records()
        side = "first" if record["first"] == name else "second"
        sent = server.requests[1]["body"]
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello\n\nfirst question"},
            {"role": "assistant", "content": turns[0][side]},
            {"role": "user", "content": "Hello\n\nsecond question"},
        ]
        assert sent["max_tokens"] == 32


def test_a_model_that_fails_is_not_named(serve: Callable[..., Server], votes: Votes) -> None:
    servers = [serve("good"), serve("gone")]
    given = read_entrants([(f"model-{n}", f"{each.url}#tiny") for n, each in enumerate(servers)], "NO_KEY", 32, None)
    servers[1].stop()
    with serving(application(Arena(given, votes, ["en"]))) as port:
        person = Person(port, "en").begin()
        found = person.post("ask", {"battle": person.battle()["battle"], "text": "Hello"})
    assert (person.status, found["error"]["message"]) == (
        503,
        "one of the two gave no answer; ask again, or take the next pair",
    )


def test_a_model_of_this_machine_answers_as_it_generates(tmp_path: Path) -> None:
    tiny_model.save_tokenizer(tmp_path / "model")
    tiny_model.save_model(tmp_path / "model")
    given = read_entrants([(name, str(tmp_path / "model")) for name in ("one", "other")], "NO_KEY", 8, None)
    model = LanguageModel.load(tmp_path / "model")
    messages = [{"role": "user", "content": "What does the baker sell?"}]
    [expected] = model.generate([model.encode_chat(messages, add_generation_prompt=True)[0]], 8)
    assert given.live["one"].answer(messages) == expected.text.strip() != ""


# --- what entrants are ----------------------------------------------------------------------------------------------


def test_names() -> None:
    assert split_name("ours=x/y.jsonl") == ("ours", "x/y.jsonl")
    assert split_name("x/y.jsonl") == ("y", "x/y.jsonl")
    assert split_name("http://h:1/v1?a=b#qwen") == ("qwen", "http://h:1/v1?a=b#qwen")
    assert split_name("runs/arabic") == ("arabic", "runs/arabic")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "a line is a JSON object"),
        ('{"language": "ar", "turns": ["a"], "answers": []}', "answers: at least one text"),
        ('{"language": "ar", "turns": ["a", "b"], "answers": ["x"]}', "2 turns, 1 answers and 0 references"),
        ('{"language": "<i>", "prompt": "a", "answer": "x"}', "language: an ISO 639 code such as ar"),
        ('{"id": 1, "language": "ar", "prompt": "a", "answer": "x"}\n{"id": "1", "language": "ar", "prompt": "a", "answer": "x"}', "an id comes twice"),
        ("{", "not valid JSON"),
        ("", "holds no answers"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(UserError, match=says):
        read_answers(tmp_path / "a.jsonl")


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    given = entrants(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"id": "q1", "language": "ar", "prompt": "another question", "answer": "x"}')
    (tmp_path / "own.jsonl").write_text('{"id": "q9", "language": "ar", "prompt": "a question", "answer": "x"}')
    for named, says in (
        (given[:1], "an arena needs two or more"),
        ([given[0], given[0]], "two are called 'our-model'"),
        ([given[0], ("m", "models/x")], "cannot be mixed"),
        ([given[0], ("m", str(tmp_path / "other.jsonl"))], "were asked something else under the id 'q1'"),
        ([given[0], ("m", str(tmp_path / "own.jsonl"))], "no question was answered by two"),
        ([("a", "http://127.0.0.1:1/v1"), ("b", "x")], "which of its models"),
    ):
        with pytest.raises(UserError, match=says):
            read_entrants(named, "NO_KEY", 8, None)


# --- many at once, and a kill -----------------------------------------------------------------------------------


@pytest.mark.full
def test_fifty_people_vote_at_once_and_no_vote_is_lost_in_a_kill(tmp_path: Path) -> None:
    """The server is killed in the midst of it; whatever a person was told is taken is there, once."""
    rows = [{"id": f"q{n}", "language": "ar", "prompt": f"سؤال {n}"} for n in range(200)]
    for name in ("one", "other"):
        text = "".join(json.dumps({**row, "answer": f"{name} {row['id']}"}) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    words = [
        "arena",
        str(tmp_path / "one.jsonl"),
        str(tmp_path / "other.jsonl"),
        "--votes",
        str(tmp_path / "v.sqlite"),
        "--port",
        "0",
    ]
    server = subprocess.Popen([sys.executable, "-m", "diglot", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout
    port = int(server.stdout.readline().split("127.0.0.1:")[1].split()[0])
    taken: list[str] = []
    finished, started = [], time.perf_counter()

    def vote() -> None:
        try:
            person = Person(port).begin()
            for _ in range(EACH):
                battle = person.battle()["battle"]
                if person.vote(battle, "first") == {"taken": True}:
                    taken.append(battle)
            finished.append(person)
        except (OSError, http.client.HTTPException):
            pass  # the server is gone

    threads = [threading.Thread(target=vote) for _ in range(VOTERS)]
    for thread in threads:
        thread.start()
    while len(taken) < VOTERS * EACH * 2 // 3 and any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
    print(f"{len(taken)} votes of {VOTERS} people in {time.perf_counter() - started:.1f} s")
    server.kill()
    server.wait()
    for thread in threads:
        thread.join()
    assert len(finished) < VOTERS  # the kill was in the midst of it
    records = Counter(record["battle"] for record in Votes(tmp_path / "v.sqlite").records())
    assert set(records.values()) == {1}
    assert set(taken) <= set(records)
    assert len(records) - len(taken) <= VOTERS  # votes whose answer the kill cut off
