"""Votes in SQLite: battles and what people said of them, safe from `kill -9` and power cuts, from many threads at once.

    voters    a row a person: a secret token, by which the page speaks for them, and a number, by which all others do
    battles   two answers (of whole conversations) to the same, with whose they were and which stood first
    votes     one a battle: first, second, tie or both_bad

The file is in WAL mode with a sync a vote: what `vote` returned from is on the disk. It may be read while people vote.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diglot.base.errors import UserError
from diglot.base.files import write_lines, write_text
from diglot.base.ratings import CHOICES, Vote

APPLICATION = 0x64676C76  # "dglv", by which our files are known
BUSY_SECONDS = 30.0  # that one process waits for another's write
SCHEMA = """
CREATE TABLE IF NOT EXISTS voters (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, language TEXT NOT NULL, began REAL NOT NULL);
CREATE TABLE IF NOT EXISTS battles (
    battle TEXT PRIMARY KEY, voter INTEGER NOT NULL REFERENCES voters, question TEXT NOT NULL, language TEXT NOT NULL,
    first TEXT NOT NULL, second TEXT NOT NULL, turns TEXT NOT NULL, began REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS votes (
    battle TEXT PRIMARY KEY REFERENCES battles, choice TEXT NOT NULL CHECK (choice IN ('first', 'second', 'tie', 'both_bad')), voted REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS battles_of_voter ON battles (voter);
"""
COLUMNS = ("battle", "question", "language", "voter", "first", "second", "choice", "winner", "voted")


@dataclass(frozen=True)
class Battle:
    """Two answers to the same.

    Attributes:
        battle: its secret name.
        voter: the number of the person to whom it is shown.
        question: what tells the question from others.
        language: of the question.
        first, second: names of entrants, by the side on which they stand.
        turns: what was asked, and both answers: `question`, `first`, `second`.
    """

    battle: str
    voter: int
    question: str
    language: str
    first: str
    second: str
    turns: list[dict[str, str]]


class Votes:
    """The file of votes, for all threads of a process."""

    def __init__(self, file: Path) -> None:
        """Open the file, and make it if need be.

        Raises:
            UserError: it is no file of votes, or cannot be written.
        """
        self.file, self._lock = file, threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                file, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            # Somebody else's database stays as it is.
            [[ours]], [[tables]] = self._rows("PRAGMA application_id"), self._rows("SELECT count(*) FROM sqlite_master")
            if ours != APPLICATION and tables:
                raise sqlite3.DatabaseError("it is a database of another program")
            for pragma in (f"application_id={APPLICATION}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._rows(f"PRAGMA {pragma}")
            self._connection.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"{file}: cannot hold votes ({error}); name another file with --votes") from error

    def close(self) -> None:
        """Close the file; what is in the log beside it is written into it."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    # --- what people do -------------------------------------------------------------------------------------------

    def new_voter(self, language: str) -> str:
        """A person who begins; returns the token that speaks for them."""
        token = secrets.token_urlsafe(24)
        self._rows("INSERT INTO voters (token, language, began) VALUES (?, ?, ?)", token, language, time.time())
        return token

    def voter(self, token: str) -> int | None:
        """The number of the person that a token speaks for; None of nobody."""
        found = self._rows("SELECT number FROM voters WHERE token = ?", token)
        return int(found[0][0]) if found else None

    def begin(
        self, voter: int, question: str, language: str, sides: tuple[str, str], turns: list[dict[str, str]]
    ) -> Battle:
        """A battle that is shown to a voter; `sides` are whose answers stand first and second."""
        battle = Battle(secrets.token_urlsafe(12), voter, question, language, *sides, turns)
        self._rows(
            "INSERT INTO battles VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            battle.battle, voter, question, language, *sides, json.dumps(turns, ensure_ascii=False), time.time(),
        )  # fmt: skip
        return battle

    def battle(self, battle: str, voter: int) -> Battle | None:
        """A battle, if it was shown to this voter."""
        found = self._rows(
            "SELECT battle, voter, question, language, first, second, turns FROM battles WHERE battle = ? AND voter = ?",
            battle, voter,
        )  # fmt: skip
        for id_, number, question, language, first, second, turns in found:
            return Battle(id_, number, question, language, first, second, json.loads(turns))
        return None

    def add_turn(self, battle: Battle, question: str, turn: dict[str, str]) -> Battle:
        """One turn more; the first one names the battle's question."""
        named = battle.question or question
        turns = [*battle.turns, turn]
        text = json.dumps(turns, ensure_ascii=False)
        self._rows("UPDATE battles SET turns = ?, question = ? WHERE battle = ?", text, named, battle.battle)
        return Battle(battle.battle, battle.voter, named, battle.language, battle.first, battle.second, turns)

    def vote(self, battle: str, choice: str) -> bool:
        """Take a vote; it is on the disk when this returns. False where the battle has one already, which stays."""
        with self._lock:
            taken = self._connection.execute(
                "INSERT INTO votes VALUES (?, ?, ?) ON CONFLICT (battle) DO NOTHING", (battle, choice, time.time())
            )
            return taken.rowcount == 1

    def seen(self, voter: int) -> set[tuple[str, frozenset[str]]]:
        """The questions and pairs that a voter has voted on."""
        rows = self._rows(
            "SELECT question, first, second FROM battles JOIN votes USING (battle) WHERE voter = ?", voter
        )
        return {(question, frozenset((first, second))) for question, first, second in rows}

    def counts(self, language: str) -> dict[tuple[str, frozenset[str]], int]:
        """Votes by question and pair, in a language."""
        rows = self._rows(
            "SELECT question, first, second, count(*) FROM battles JOIN votes USING (battle) WHERE language = ? "
            "GROUP BY question, first, second",
            language,
        )
        found: dict[tuple[str, frozenset[str]], int] = {}
        for question, first, second, count in rows:
            key = (question, frozenset((first, second)))
            found[key] = found.get(key, 0) + count
        return found

    # --- what came of it ------------------------------------------------------------------------------------------

    def records(self) -> Iterator[dict[str, Any]]:
        """Every vote, the oldest first, with what was shown; without tokens."""
        rows = self._rows(
            "SELECT battle, question, language, voter, first, second, choice, voted, turns FROM votes "
            "JOIN battles USING (battle) ORDER BY voted, battle"
        )
        for battle, question, language, voter, first, second, choice, voted, turns in rows:
            yield {
                "battle": battle, "question": question, "language": language, "voter": voter, "first": first,
                "second": second, "choice": choice, "winner": {"first": first, "second": second}.get(choice, choice),
                "voted": round(voted, 3), "turns": json.loads(turns),
            }  # fmt: skip


def as_votes(records: list[dict[str, Any]]) -> list[Vote]:
    """Records as ratings take them."""
    return [Vote(record["first"], record["second"], CHOICES[record["choice"]]) for record in records]


def by_answers(records: list[dict[str, Any]]) -> list[list[float]]:
    """What different voters said of the same two answers: shares of the entrant that comes first by name."""
    units: dict[tuple[Any, ...], dict[int, float]] = {}
    for record in records:
        one, other = sorted((record["first"], record["second"]))
        texts = sorted(
            json.dumps([turn["question"], turn[side]]) for turn in record["turns"] for side in ("first", "second")
        )
        share = CHOICES[record["choice"]]
        # A person who voted twice on the same counts once, the first time.
        said = units.setdefault((record["question"], one, other, *texts), {})
        said.setdefault(record["voter"], share if record["first"] == one else 1 - share)
    return [list(said.values()) for said in units.values()]


def export(records: list[dict[str, Any]], file: Path) -> None:
    """Write votes as JSON Lines with the conversations, or as CSV without them, by the file's ending.

    Raises:
        UserError: another ending.
    """
    if file.suffix == ".jsonl":
        write_lines(file, records)
    elif file.suffix == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows([_safe(record[name]) for name in COLUMNS] for record in records)
        write_text(file, text.getvalue())
    else:
        raise UserError(f"--export {file}: votes are written as .jsonl or .csv")


def _safe(value: Any) -> Any:
    """A spreadsheet takes text that begins like a formula for one."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
