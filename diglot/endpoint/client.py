"""One client for OpenAI-compatible model servers (vLLM, Ollama, `transformers serve`, hosted ones), and a journal.

    with Journal(scratch / "answers.jsonl") as journal, Client(settings.endpoint, max_cost=5.0) as client:
        requests = [Request([{"role": "user", "content": "2 + 2?"}], {"max_tokens": 8})]
        for outcome in client.ask_all(requests, journal):   # as the answers come; journalled ones are not asked again
            ...
        journal.get(client.key(requests[0])).text

**What goes wrong, and what is done.** A busy server (429, 5xx), a timeout, a broken connection and an answer that is no
chat completion are tried again after 1, 2, 4, … seconds, or after as long as the server asks for (`Retry-After`). What
trying again does not cure (nothing listens there, a wrong key, an unknown model, a redirect) ends the run with a
`UserError`. A request that the server will not answer for what it says (400, 413, 422) is `Refused`, and so is one whose
answers are never completions though others' are; the others go on, unless REFUSALS in a row and a greeting are refused.

**An answer is judged before it is kept**: its text can be written down, its counts are whole numbers that can be. So
whatever a server says, a run can go on from its journal.

**The journal** gets every answer as it comes, so a run that is killed asks again only for what was under way. Its key
is all that was sent, but for the address: equal requests are one.

**The key** is read from the environment variable that the settings name. It is kept in the client alone; messages are
cleared of it, and of a password in the address.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from diglot.base.errors import UserError
from diglot.base.files import parse_json
from diglot.base.format import excerpt, public_address, without_password
from diglot.endpoint.wire import LARGEST, Reply, TooLarge, Wire
from diglot.recipe.endpoint import Endpoint

LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more has shut its doors for today
REFUSALS = 20  # so many without an answer between: it may be the settings, or the server
GREETING = [{"role": "user", "content": "Hello!"}]
WORTH_RETRYING = {408, 409, 425, 429}
ABOUT_THE_REQUEST = {400, 413, 422}


class Completion(NamedTuple):
    """A server's answer.

    Attributes:
        text: what it said; empty where it said nothing.
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not.
        finish_reason: `stop`, `length` (cut off), `content_filter`, …
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class Refused(Exception):
    """The server will not answer this request, whenever it is asked; the message says why."""


class _Passing(Exception):
    """What may pass if it is tried again."""

    def __init__(self, what: str, pause: float | None = None, no_completion: bool = False):
        super().__init__(what)
        self.pause, self.no_completion = pause, no_completion


Tokens = Annotated[int, Field(ge=0, le=10**12)]


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _Answer(BaseModel):
    """What is read of a server's answer."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str
    root: str | None = None  # vLLM's: the file or the name on the hub
    owned_by: str | None = None


class _Models(BaseModel):
    data: list[_Model]


_LINE: TypeAdapter[tuple[str, str, int, int, str]] = TypeAdapter(tuple[str, str, Tokens, Tokens, str])


@dataclass(frozen=True)
class Request:
    """What to ask.

    Attributes:
        messages: in OpenAI's form.
        options: more of what the chat API takes: max_tokens, temperature, stop, …
        attempt: tells apart requests that are equal but meant to be asked again.
    """

    messages: list[dict[str, str]]
    options: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1


class Journal:
    """Answers on disk, by the key of their request: JSON lines, appended as they come.

    A last line that was cut off is taken away. Memory: about 150 bytes an answer; the texts stay on disk.
    """

    def __init__(self, path: Path):
        self.prompt_tokens = self.completion_tokens = self.uncounted = 0
        self._places: dict[bytes, int] = {}
        self._lock = threading.Lock()
        path.touch()
        whole = 0
        with path.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    self._remember(line, whole)
                    whole += len(line)
        os.truncate(path, whole)
        self._end = whole
        self._writer, self._reader = path.open("ab"), path.open("rb")

    def _remember(self, line: bytes, place: int) -> None:
        try:
            key, completion = _parse(line)
        except ValueError:  # a damaged line, or one of a time when answers were not judged: asked again
            return
        self._count(key, completion, place)

    def _count(self, key: str, completion: Completion, place: int) -> None:
        self._places[bytes.fromhex(key)] = place
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.uncounted += not completion.prompt_tokens

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def get(self, key: str) -> Completion | None:
        """The answer to a request, or None."""
        with self._lock:
            place = self._places.get(bytes.fromhex(key))
            if place is None:
                return None
            self._reader.seek(place)
            return _parse(self._reader.readline())[1]

    def add(self, key: str, completion: Completion) -> None:
        """Write an answer down. It survives a kill at once, and a power cut as soon as the system has written it."""
        line = json.dumps([key, *completion], ensure_ascii=True).encode() + b"\n"
        with self._lock:
            self._writer.write(line)
            self._writer.flush()
            self._count(key, completion, self._end)
            self._end += len(line)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._reader.close()


def _parse(line: bytes) -> tuple[str, Completion]:
    key, text, prompt_tokens, completion_tokens, finish_reason = _LINE.validate_json(line, strict=True)
    bytes.fromhex(key)
    return key, Completion(text, prompt_tokens, completion_tokens, finish_reason)


class Client:
    """Asks a server, many requests at a time."""

    def __init__(self, settings: Endpoint, max_cost: float | None = None, max_total_tokens: int | None = None):
        """Prepare; nothing is sent yet.

        Args:
            settings: the server, and how to treat it.
            max_cost: no more requests are sent once this is spent; what is under way then is still paid for.
            max_total_tokens: the same for tokens, of prompts and answers.

        Raises:
            UserError: the address, the key or the prices cannot be right.
        """
        self.settings, self.max_cost, self.max_total_tokens = settings, max_cost, max_total_tokens
        if max_cost is not None and not (settings.price_in or settings.price_out):
            raise UserError("max_cost: costs are not known without endpoint.price_in and endpoint.price_out")
        self._key = os.environ.get(settings.key_variable, "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise UserError(f"${settings.key_variable}: holds characters that are in no key; set it to the key alone")
        self._limit_name = "max_tokens"
        self._reached = self._answered = False
        self._stopping = threading.Event()
        self._wire = Wire(settings.url, self._key, settings.timeout)
        self.address = public_address(settings.url)
        self._secrets = _spellings(self._key, self._wire.address)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def key(self, request: Request) -> str:
        """What a request is called in a journal (32 hex digits)."""
        sent = [self.settings.model, request.messages, request.options, request.attempt]
        text = json.dumps(sent, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        prices = self.settings.price_in, self.settings.price_out
        return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6

    def complete(self, messages: list[dict[str, str]], **options: Any) -> Completion:
        """Ask once, and again after failures that pass.

        Args:
            messages: in OpenAI's form.
            options: more of what the chat API takes: max_tokens, temperature, stop, …

        Raises:
            Refused: the server will not answer this.
            UserError: the server cannot be reached, or not with these settings.
        """
        failures = 0  # in a row: an answer returns
        while True:
            try:
                completion = self._send(messages, options)
            except _Passing as trouble:
                failures += 1
                if failures > self.settings.retries:
                    raise self._given_up(trouble, failures) from trouble
                self._pause(trouble.pause, failures)
            else:
                self._answered = True
                return completion

    def _given_up(self, trouble: _Passing, failures: int) -> Refused | UserError:
        # Where others are answered, it is this request: one text must not end a run, now and whenever it goes on.
        if trouble.no_completion and self._answered:
            return Refused(f"{trouble}, {failures} times in a row")
        return UserError(
            f"{self.address} {trouble}, {failures} times in a row; see to the server, or raise endpoint.timeout or "
            "lower endpoint.concurrency, and run again: what was answered is kept"
        )

    def num_missing(self, requests: Iterable[Request], journal: Journal) -> int:
        """How many answers `ask_all` would ask for; equal requests are one."""
        return len({key for request in requests if (key := self.key(request)) not in journal})

    def ask_all(self, requests: Iterable[Request], journal: Journal) -> Iterator[Completion | Refused]:
        """Ask for all that is not in the journal yet, each once; yields what comes, in the order of coming.

        At most `concurrency` requests are taken from `requests` ahead of the answers. After an error, and on Ctrl-C,
        what is under way is waited for and journalled.

        Raises:
            UserError: as `complete`; or max_cost is spent; or many requests in a row are refused, and a greeting too.
        """
        asked: set[str] = set()
        pending: set[Future[Completion | Refused]] = set()
        refusals, waiting = 0, iter(requests)
        self._stopping.clear()
        self._answered |= len(journal) > 0
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                while True:
                    # No more is taken from the iterator than can be under way: it may be millions long.
                    for request in waiting:
                        key = self.key(request)
                        if key in journal or key in asked:
                            continue
                        self._check_budget(journal)
                        asked.add(key)
                        pending.add(pool.submit(self._answer, key, request, journal))
                        if len(pending) == self.settings.concurrency:
                            break
                    if not pending:
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for outcome in [future.result() for future in done]:
                        # A few refusals are about what was said; one after the other they may be about all.
                        refusals = refusals + 1 if isinstance(outcome, Refused) else 0
                        if refusals and refusals % REFUSALS == 0:
                            many = f"{refusals} requests in a row" if len(journal) else f"the first {refusals} requests"
                            self._check_greeting(request.options, f"refused {many}: {outcome}")
                        yield outcome
            except BaseException:
                self._stopping.set()  # those who wait to try again give up; the pool waits for the others
                raise

    def _check_greeting(self, options: dict[str, Any], trouble: str) -> None:
        """Ask for something that no server refuses for what it says: does it answer at all?

        Raises:
            UserError: it does not; with the trouble that made one ask.
        """
        try:
            self.complete(GREETING, **options)
        except Refused as refused:
            raise UserError(f"{self.address} {trouble}; and a greeting too: {refused}") from refused

    def _answer(self, key: str, request: Request, journal: Journal) -> Completion | Refused:
        try:
            completion = self.complete(request.messages, **request.options)
        except Refused as refused:
            return refused
        journal.add(key, completion)
        return completion

    def _check_budget(self, journal: Journal) -> None:
        limits = {"max_cost": self.max_cost, "max_total_tokens": self.max_total_tokens}
        taken = journal.prompt_tokens + journal.completion_tokens
        spent = {"max_cost": self.cost(journal.prompt_tokens, journal.completion_tokens), "max_total_tokens": taken}
        for name, limit in limits.items():
            if limit is None:
                continue
            if journal.uncounted:
                raise UserError(
                    f"{name}: {self.address} does not say how many tokens it takes (no `usage` in its answers), so "
                    f"they cannot be watched; leave {name} out"
                )
            if spent[name] >= limit:
                raise UserError(
                    f"{spent[name]:,.10g} is spent, and {name} is {limit:,.10g}: {len(journal):,} answers are kept; raise "
                    f"{name} and run again to go on from there"
                )

    def _send(self, messages: list[dict[str, str]], options: dict[str, Any]) -> Completion:
        """Ask once.

        Raises:
            _Passing: it may go well another time.
            Refused, UserError: it will not.
        """
        name = self._limit_name
        named = {name if key == "max_tokens" else key: value for key, value in options.items()}
        reply = self._exchange(
            "POST", "/chat/completions", {"model": self.settings.model, "messages": messages, **named}
        )
        # OpenAI's newer models know the limit by another name only.
        newer = "max_completion_tokens"
        if reply.status == 400 and "max_tokens" in options and name != newer and newer in self._said(reply):
            self._limit_name = newer
            return self._send(messages, options)
        self._check_status(reply)
        return self._judged(reply)

    def _exchange(self, method: str, path: str, value: Any = None) -> Reply:
        try:
            reply = self._wire.send(method, path, value)
        except (TimeoutError, httpx2.TimeoutException) as error:
            seconds = f"{self.settings.timeout:g} s (endpoint.timeout)"
            raise _Passing(f"gave no answer in {seconds}") from error
        except TooLarge as error:
            raise _Passing(f"answered more than {LARGEST:,} bytes", no_completion=True) from error
        except (httpx2.HTTPError, OSError) as error:
            # Nobody has ever answered there: a wrong address, not a server that restarts.
            if isinstance(error, httpx2.ConnectError) and not self._reached:
                raise UserError(f"{self._cannot_connect()} ({self._clean(str(error))})") from error
            raise _Passing(f"broke the connection off ({self._clean(str(error) or type(error).__name__)})") from error
        self._reached = True
        return reply

    def _judged(self, reply: Reply) -> Completion:
        """The completion in an answer, if there is one that can be kept.

        Raises:
            _Passing: there is none.
        """
        value = _parsed(reply.body)
        try:
            answer = _Answer.model_validate(value)
        except ValidationError as error:
            [first, *_] = error.errors()
            wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            said = self._clean(_error_of(reply.body)[0] or wrong) if isinstance(value, dict) else self._said(reply)
            raise _Passing(f"answered something that is no chat completion ({said})", no_completion=True) from error
        choice, usage = answer.choices[0], answer.usage or _Usage()
        return Completion(
            text=choice.message.content or "",
            prompt_tokens=usage.prompt_tokens or 0,
            completion_tokens=usage.completion_tokens or 0,
            finish_reason=choice.finish_reason or "stop",
        )

    def _check_status(self, reply: Reply) -> None:
        """Leave only what is an answer.

        Raises:
            _Passing: what may pass if it is tried again.
            Refused, UserError: what will not.
        """
        settings, status, said = self.settings, reply.status, self._said(reply)
        if 200 <= status < 300:
            return
        code = _error_of(reply.body)[1]
        # What asking again does not cure, and a person can.
        if 300 <= status < 400:
            to = self._clean(public_address(reply.headers.get("location", "nowhere")))
            raise UserError(
                f"{self.address} redirects to {to} ({status}); nothing was sent there. If that is the right server, set "
                "endpoint.url to its address"
            )
        if status == 401:
            held = "the key in it is wrong" if self._key else "it is not set"
            raise UserError(
                f"{self.address} wants another key (401): endpoint.key_variable is {settings.key_variable}, and {held}"
            )
        if status == 404 or code == "model_not_found":
            raise UserError(f"{self._no_such_model()} ({said})")
        if code == "insufficient_quota":
            raise UserError(f"{self.address}: no credit left: {said}")
        # What is about this request alone.
        if status in ABOUT_THE_REQUEST:
            raise Refused(f"{status}: {said}")
        if status not in WORTH_RETRYING and status < 500:
            raise UserError(f"{self.address} answered {status}: {said}")
        raise _Passing(f"answered {status}: {said}", _retry_after(reply))

    def _no_such_model(self) -> str:
        start = f"{self.address} has no model {self.settings.model!r}; "
        models = self._models()
        if models is None:
            return start + "correct endpoint.model, or endpoint.url (most end in /v1)"
        names = sorted(model.id for model in models)
        return start + f"correct endpoint.model: it has {self._clean(', '.join(names[:10])) or 'none'}"

    def _models(self) -> list[_Model] | None:
        """What the server says that it has; None where it does not say."""
        try:
            return _Models.model_validate(_parsed(self._exchange("GET", "/models").body)).data
        except (_Passing, UserError, ValidationError):
            return None

    def served(self) -> dict[str, str]:
        """The server's address and what it says of the model: the name alone may stand for another one tomorrow."""
        about = next((model for model in self._models() or [] if model.id == self.settings.model), None)
        said = {"root": about.root, "owned_by": about.owned_by} if about else {}
        return {"address": self.address, **{key: self._clean(text) for key, text in said.items() if text}}

    def _cannot_connect(self) -> str:
        return (
            f"{self.address}: nothing answers there; start the server "
            f"(vllm serve {self.settings.model}, ollama serve, …), or correct endpoint.url"
        )

    def _said(self, reply: Reply) -> str:
        """A server's message, fit to be shown."""
        return self._clean(_error_of(reply.body)[0] or reply.body[:10_000].decode("utf-8", "replace"))

    def _clean(self, text: str) -> str:
        """What others wrote, on one line, without secrets and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = text.encode("utf-8", "replace").decode()  # half a character cannot be written down
        return excerpt(without_password(" ".join(text.split())))

    def _pause(self, wanted: float | None, failures: int) -> None:
        if wanted is not None and wanted > LONGEST_RETRY_AFTER:
            raise UserError(
                f"{self.address} asks to wait for {wanted:,.0f} s; run again then: what was answered is kept"
            )
        seconds = wanted if wanted is not None else min(2.0 ** (failures - 1), LONGEST_PAUSE)
        if self._stopping.wait(seconds * random.uniform(1.0, 1.25)):  # not all threads at the same time
            raise UserError(f"{self.address}: given up, since another request failed")


def _spellings(key: str, address: httpx2.URL) -> list[str]:
    """What must not be shown, in all ways in which a server or library might say it; the longest first."""
    name, password = address.username, address.password
    both = base64.b64encode(f"{name}:{password}".encode()).decode() if password else ""
    secrets = [key, password, both, *(value for _, value in address.params.multi_items())]
    # Bytes are shown as Python writes them, addresses with escapes.
    ways = {way for secret in secrets if secret for way in (secret, repr(secret)[1:-1], quote(secret, safe=""))}
    return sorted(ways, key=len, reverse=True)


def _parsed(body: bytes) -> Any:
    """The JSON in an answer; None where it is none, is nested too deeply, or holds half a character."""
    try:
        return parse_json(body)
    except ValueError:
        return None


def _error_of(body: bytes) -> tuple[str, str]:
    """The message and the code of an error in OpenAI's form; empty where there is none."""
    value = _parsed(body)
    inner = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(inner, str):
        return inner, ""
    found = [inner.get(key) if isinstance(inner, dict) else None for key in ("message", "code")]
    message, code = (text if isinstance(text, str) else "" for text in found)
    return message, code


def _retry_after(reply: Reply) -> float | None:
    """The seconds that a server asks to wait for, if it does: a number, or a date."""
    value = reply.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
