"""Votes in SQLite: kept through a kill, one a battle, from many threads; what is exported, and what people agree on."""

import csv
import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diglot.base.errors import UserError
from diglot.base.ratings import Vote, agreement
from diglot.cli import cli
from diglot.serve.arena.results import results_as_json
from diglot.serve.arena.votes import Votes, as_votes, by_answers, export

TURN = {"question": "ما عاصمة مصر؟", "first": "القاهرة", "second": "=1+1"}
KILLED = """
import os, sys
from pathlib import Path
from diglot.serve.arena.votes import Votes
votes = Votes(Path(sys.argv[1]))
voter = votes.voter(votes.new_voter("ar"))
for number in range(20):
    battle = votes.begin(voter, f"q{number}", "ar", ("a", "b"), [])
    votes.vote(battle.battle, "first")
    print(battle.battle, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def votes(tmp_path: Path):
    made = Votes(tmp_path / "arena.sqlite")
    yield made
    made.close()


def voter(votes: Votes) -> int:
    number = votes.voter(votes.new_voter("ar"))
    assert number is not None
    return number


def said(
    votes: Votes, who: int, question: str, sides: tuple[str, str], choice: str, turn: dict[str, str] = TURN
) -> str:
    battle = votes.begin(who, question, "ar", sides, [turn])
    assert votes.vote(battle.battle, choice)
    return battle.battle


def test_what_was_taken_is_there_after_a_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "arena.sqlite"], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9
    records = list(Votes(tmp_path / "arena.sqlite").records())
    assert [record["battle"] for record in records] == done.stdout.split()


def test_a_battle_has_one_vote_and_belongs_to_one_person(votes: Votes) -> None:
    one, other = voter(votes), voter(votes)
    battle = votes.begin(one, "q", "ar", ("a", "b"), [TURN])
    assert [votes.vote(battle.battle, choice) for choice in ("first", "second", "first")] == [True, False, False]
    assert [record["choice"] for record in votes.records()] == ["first"]
    assert votes.battle(battle.battle, one) == battle
    assert votes.battle(battle.battle, other) is None
    assert votes.voter("guessed") is None
    with pytest.raises(sqlite3.IntegrityError):
        votes.vote("no battle", "first")


def test_threads_and_a_second_process_write_at_the_same_time(votes: Votes) -> None:
    second = Votes(votes.file)

    def many(through: Votes) -> None:
        who = voter(through)
        for number in range(25):
            said(through, who, f"q{number}", ("a", "b"), "tie")

    threads = [threading.Thread(target=many, args=(each,)) for each in (votes, votes, second, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(votes.records())) == 100
    second.close()


def test_turns_are_added_and_the_first_names_the_question(votes: Votes) -> None:
    who = voter(votes)
    battle = votes.begin(who, "", "en", ("a", "b"), [])
    battle = votes.add_turn(battle, "1f", TURN)
    battle = votes.add_turn(battle, "2e", {**TURN, "question": "وبعد؟"})
    assert votes.battle(battle.battle, who) == battle
    assert (battle.question, [turn["question"] for turn in battle.turns]) == ("1f", ["ما عاصمة مصر؟", "وبعد؟"])


def test_export_holds_every_vote_and_no_token(votes: Votes, tmp_path: Path) -> None:
    token = votes.new_voter("ar")
    who = votes.voter(token)
    assert who
    said(votes, who, "q1", ("=cmd", "b"), "first")
    said(votes, who, "q2", ("=cmd", "b"), "both_bad")
    records = list(votes.records())
    export(records, tmp_path / "votes.jsonl")
    text = (tmp_path / "votes.jsonl").read_text("utf-8")
    assert [json.loads(line) for line in text.splitlines()] == records
    assert token not in text
    assert [record["winner"] for record in records] == ["=cmd", "both_bad"]
    assert records[0]["turns"] == [TURN]
    export(records, tmp_path / "votes.csv")
    with (tmp_path / "votes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["question"], row["first"], row["choice"]) for row in rows] == [
        ("q1", "'=cmd", "first"),
        ("q2", "'=cmd", "both_bad"),
    ]
    with pytest.raises(UserError, match=r"votes are written as \.jsonl or \.csv"):
        export(records, tmp_path / "votes.txt")


def test_agreement_is_of_people_on_the_same_answers_whatever_side_they_stood_on(votes: Votes) -> None:
    one, two, three = voter(votes), voter(votes), voter(votes)
    turned = {**TURN, "first": TURN["second"], "second": TURN["first"]}
    said(votes, one, "q1", ("a", "b"), "first")
    said(votes, one, "q1", ("a", "b"), "second")  # the same person again
    said(votes, two, "q1", ("b", "a"), "second", turned)
    said(votes, three, "q1", ("a", "b"), "both_bad")
    said(votes, two, "q1", ("a", "b"), "first", {**TURN, "first": "another answer"})
    records = list(votes.records())
    assert sorted(by_answers(records), key=len) == [[1.0], [1.0, 1.0, 0.5]]
    assert agreement(by_answers(records)).same == pytest.approx(1 / 3)
    assert as_votes(records)[2] == Vote("b", "a", 0.0)


def test_the_command(votes: Votes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["votes", str(votes.file)], standalone_mode=False)
    assert "nobody has voted yet" in capsys.readouterr().out
    for _ in range(3):
        said(votes, voter(votes), "q1", ("ours", "theirs"), "first")
    # It may be read while people vote.
    cli.main(["votes", str(votes.file), "--json", "--export", str(tmp_path / "out.csv")], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(results_as_json(list(votes.records()))))
    assert (found["votes"], found["voters"], found["agreement"]["same"]) == (3, 3, 1.0)
    assert found["ratings"]["ours"]["rating"] > 1000 > found["ratings"]["theirs"]["rating"]
    assert {"first": "ours", "second": "theirs", "share": 1.0, "votes": 3} in found["win_rates"]
    cli.main(["votes", str(votes.file)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "Ratings" in shown
    assert "100.0%" in shown


@pytest.mark.parametrize("what", ["text", "database", "folder", "none"])
def test_what_is_no_file_of_votes_stays_as_it_is(tmp_path: Path, what: str) -> None:
    file = tmp_path / "other"
    if what == "text":
        file.write_text("These are no votes, but a text that is longer than the head of a database file. " * 3)
    elif what == "database":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE places (name TEXT)")
        connection.close()
    elif what == "folder":
        file.mkdir()
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(UserError, match=r"cannot hold votes|no such file"):
        cli.main(["votes", str(file)], standalone_mode=False)
    assert (file.read_bytes() if file.is_file() else None) == before
