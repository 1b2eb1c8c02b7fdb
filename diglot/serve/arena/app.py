"""The arena's server: a page, and what it asks for.

    POST /api/voter   {language}             -> {token}: from now on sent as `x-arena-token`
    POST /api/battle  {language}             -> {battle, turns, left}, or {done}; live: a battle without turns
    POST /api/ask     {battle, text}         -> {turns}: live only, both answer
    POST /api/vote    {battle, choice}       -> {taken}
    GET  /api/arena                          -> {live, languages}

No cookie speaks for a person, so no other site's page can vote for them: it does not know the token, and the guard refuses it
before that (web.py). What is sent names no entrant, and an answer is shown as text.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from diglot.base.errors import UserError
from diglot.base.files import parse_json
from diglot.base.ratings import CHOICES
from diglot.serve.arena.entrants import Entrants, Message
from diglot.serve.arena.votes import Battle, Votes
from diglot.serve.web import Guard, Refusal

PAGE = Path(__file__).parent
FILES = {"/": "arena.html", "/arena.js": "arena.js", "/arena.css": "arena.css"}
MAX_BYTES = 64_000  # of a request; a question has MOST_CHARACTERS
MOST_CHARACTERS, MOST_TURNS = 8000, 8
LIVE_AT_A_TIME = 8  # questions; who comes when all are taken is told to wait
VOTES_EACH = (
    2  # people who are to vote on the same answers, so that it is known how far they agree, before others are shown
)


class Arena:
    """What is shown to whom, and what becomes of it."""

    def __init__(self, entrants: Entrants, votes: Votes, languages: list[str], seed: int | None = None) -> None:
        """Prepare; `languages` are those offered to people, `seed` makes the draws repeatable for tests."""
        self.entrants, self.votes, self.languages = entrants, votes, languages
        self._random = random.Random(seed)
        self._free = threading.Semaphore(LIVE_AT_A_TIME)
        self._pool = ThreadPoolExecutor(2 * LIVE_AT_A_TIME)

    def next_battle(self, voter: int, language: str) -> tuple[Battle | None, int]:
        """A battle that this person has not seen, and how many are left for them; None at the end.

        First come answers that somebody has voted on and fewer than VOTES_EACH have, then those with the fewest votes.
        """
        if self.entrants.live:
            sides = self._random.sample(self.entrants.names, 2)
            return self.votes.begin(voter, "", language, (sides[0], sides[1]), []), -1
        seen, counts = self.votes.seen(voter), self.votes.counts(language)
        waiting = [
            (question, pair)
            for question, pair in self.entrants.pairs(language)
            if (question, frozenset(pair)) not in seen
        ]
        if not waiting:
            return None, 0

        def rank(item: tuple[str, tuple[str, str]]) -> tuple[bool, int, float]:
            count = counts.get((item[0], frozenset(item[1])), 0)
            return not 0 < count < VOTES_EACH, count, self._random.random()

        question, pair = min(waiting, key=rank)
        one, other = self._random.sample(pair, 2)
        turns = self.entrants.turns(question, (one, other))
        return self.votes.begin(voter, question, language, (one, other), turns), len(waiting)

    def ask(self, battle: Battle, text: str) -> Battle:
        """Both models of a live battle answer.

        Raises:
            Refusal: one gives no answer, or too many people ask at a time.
        """
        if not self._free.acquire(blocking=False):
            raise Refusal(429, "many people are asking; try again in a moment")
        try:
            histories = [self._history(battle, side, text) for side in ("first", "second")]
            names = (battle.first, battle.second)
            given = [
                self._pool.submit(self.entrants.live[name].answer, history) for name, history in zip(names, histories)
            ]
            first, second = (future.result() for future in given)
        except UserError as error:
            # The message would say which of the two it was.
            raise Refusal(503, "one of the two gave no answer; ask again, or take the next pair") from error
        finally:
            self._free.release()
        asked = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.votes.add_turn(battle, asked, {"question": text, "first": first, "second": second})

    @staticmethod
    def _history(battle: Battle, side: str, text: str) -> list[Message]:
        said = [
            message
            for turn in battle.turns
            for message in ({"role": "user", "content": turn["question"]}, {"role": "assistant", "content": turn[side]})
        ]
        return [*said, {"role": "user", "content": text}]


# --- requests ---------------------------------------------------------------------------------------------------


def application(arena: Arena, names: tuple[str, ...] = ()) -> Guard:
    """The ASGI application, behind its guard.

    Args:
        arena: what it shows.
        names: hosts that may be asked for beside this machine's.
    """
    routes = [Route(path, _file(name), methods=["GET"]) for path, name in FILES.items()]
    routes.append(Route("/api/arena", _about(arena), methods=["GET"]))
    for path, work in (("voter", _voter), ("battle", _battle), ("ask", _ask), ("vote", _vote)):
        routes.append(Route(f"/api/{path}", _json(arena, work), methods=["POST"]))
    return Guard(Starlette(routes=routes), names, MAX_BYTES)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return FileResponse(PAGE / name)

    return answer


def _about(arena: Arena) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return JSONResponse({"live": bool(arena.entrants.live), "languages": arena.languages})

    return answer


Work = Callable[[Arena, int | None, dict[str, Any]], dict[str, Any]]


def _json(arena: Arena, work: Work) -> Callable[[Request], Awaitable[Response]]:
    """A function of an arena, a voter and a JSON object, as a request: in a thread, since it waits for the disk or for models."""

    async def answer(request: Request) -> Response:
        try:
            value = None
            # A form of another site cannot send this type.
            if request.headers.get("content-type", "").partition(";")[0] == "application/json":
                with contextlib.suppress(ValueError):
                    value = parse_json(await request.body())
            if not isinstance(value, dict):
                raise Refusal(400, "a JSON object is wanted")
            token = request.headers.get("x-arena-token", "")
            voter = await run_in_threadpool(arena.votes.voter, token) if token else None
            return JSONResponse(await run_in_threadpool(work, arena, voter, value))
        except Refusal as refusal:
            return JSONResponse(refusal.as_json(), refusal.status)
        except sqlite3.Error as error:
            full = Refusal(503, f"the votes cannot be written now ({error}); try again")
            return JSONResponse(full.as_json(), full.status)

    return answer


def _voter(arena: Arena, _: int | None, value: dict[str, Any]) -> dict[str, Any]:
    return {"token": arena.votes.new_voter(_language(arena, value))}


def _battle(arena: Arena, voter: int | None, value: dict[str, Any]) -> dict[str, Any]:
    battle, left = arena.next_battle(_known(voter), _language(arena, value))
    if battle is None:
        return {"done": True}
    return {"battle": battle.battle, "turns": battle.turns, "left": left}


def _ask(arena: Arena, voter: int | None, value: dict[str, Any]) -> dict[str, Any]:
    battle, text = _shown(arena, voter, value), value.get("text")
    if not arena.entrants.live:
        raise Refusal(400, "these answers were made before; there is nobody to ask")
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
        raise Refusal(400, f"a question has 1 to {MOST_CHARACTERS:,} characters")
    if len(battle.turns) >= MOST_TURNS:
        raise Refusal(400, f"a conversation has at most {MOST_TURNS} questions; vote")
    return {"turns": arena.ask(battle, text.strip()).turns}


def _vote(arena: Arena, voter: int | None, value: dict[str, Any]) -> dict[str, Any]:
    battle, choice = _shown(arena, voter, value), value.get("choice")
    if not isinstance(choice, str) or choice not in CHOICES:
        raise Refusal(400, f"a choice is one of {', '.join(CHOICES)}")
    if not battle.turns:
        raise Refusal(400, "nothing was answered yet")
    return {"taken": arena.votes.vote(battle.battle, choice)}


def _known(voter: int | None) -> int:
    if voter is None:
        raise Refusal(401, "begin on the page: this request comes from nobody")
    return voter


def _shown(arena: Arena, voter: int | None, value: dict[str, Any]) -> Battle:
    battle = arena.votes.battle(str(value.get("battle")), _known(voter))
    if battle is None:
        raise Refusal(404, "no such pair was shown to you")
    return battle


def _language(arena: Arena, value: dict[str, Any]) -> str:
    language = value.get("language")
    if language not in arena.languages:
        raise Refusal(400, f"a language is one of {', '.join(arena.languages)}")
    return str(language)
