"""One client for OpenAI-compatible model servers (vLLM, Ollama, `transformers serve`, hosted ones), and a journal.

    with Journal(scratch / "answers.jsonl") as journal, Client(settings.endpoint, max_cost=5.0) as client:
        requests = [Request([{"role": "user", "content": "2 + 2?"}], {"max_tokens": 8})]
        for outcome in client.ask_all(requests, journal):   # as the answers come; journalled ones are not asked again
            ...
        journal.get(client.key(requests[0])).text

**What goes wrong, and what is done.** A busy server (429, 5xx), a timeout and a broken connection are tried again after
1, 2, 4, … seconds, or after as long as the server asks for (`Retry-After`). What trying again does not cure (nothing
listens there, a wrong key, an unknown model) ends the run with a `UserError`. A request that the server will not answer
for what it says (400, 413, 422) is `Refused`; the others go on, unless all are refused.

**The journal** gets every answer as it comes, so a run that is killed asks again only for what was under way. Its key
is all that was sent, but for the address: equal requests are one.

**The key** is read from the environment variable that the settings name. It is kept in the client alone; error messages
are cleared of it.
"""

from __future__ import annotations

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
from typing import Any, NamedTuple

import openai
from httpx2 import ConnectError

from diglot.base.errors import UserError
from diglot.recipe.endpoint import Endpoint

LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more has shut its doors for today
REFUSALS = 20  # so many, and not one answer: the fault is in the settings
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
        self.prompt_tokens = self.completion_tokens = 0
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
        except (ValueError, TypeError):  # a damaged line: asked again
            return
        self._count(key, completion, place)

    def _count(self, key: str, completion: Completion, place: int) -> None:
        self._places[bytes.fromhex(key)] = place
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens

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
    key, *fields = json.loads(line)
    bytes.fromhex(key)
    return key, Completion(*fields)


class Client:
    """Asks a server, many requests at a time."""

    def __init__(self, settings: Endpoint, max_cost: float | None = None):
        """Prepare; nothing is sent yet.

        Args:
            settings: the server, and how to treat it.
            max_cost: no more requests are sent once this is spent; what is under way then is still paid for.

        Raises:
            UserError: the address, the key or the prices cannot be right.
        """
        self.settings, self.max_cost = settings, max_cost
        if not settings.url.startswith(("http://", "https://")):
            raise UserError(f"endpoint.url {settings.url!r}: an address such as http://127.0.0.1:8000/v1 is wanted")
        if max_cost is not None and not (settings.price_in or settings.price_out):
            raise UserError("max_cost: costs are not known without endpoint.price_in and endpoint.price_out")
        self._key = os.environ.get(settings.key_variable, "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise UserError(f"${settings.key_variable}: holds characters that are in no key; set it to the key alone")
        self._limit_name = "max_tokens"
        self._reached = False
        self._stopping = threading.Event()
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=settings.url, timeout=settings.timeout, max_retries=0
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

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
        failures = 0
        while True:
            try:
                completion = self._send(messages, options)
                self._reached = True
                return completion
            except openai.APIStatusError as error:
                self._reached = True
                self._check_status(error)  # raises where asking again is of no use
                trouble, pause = f"answered {error.status_code}: {self._said(error)}", _retry_after(error)
            except openai.APITimeoutError:
                trouble, pause = f"gave no answer in {self.settings.timeout:g} s (endpoint.timeout)", None
            except openai.APIConnectionError as error:
                # Nobody has ever answered there: a wrong address, not a server that restarts.
                if isinstance(error.__cause__, ConnectError) and not self._reached:
                    raise UserError(f"{self._cannot_connect()} ({error.__cause__})") from error
                trouble, pause = f"broke the connection off ({error.__cause__ or error})", None
            except (openai.APIError, ValueError) as error:
                trouble, pause = f"answered something that is no chat completion ({self._said(error)})", None
            failures += 1  # in a row: an answer returns
            if failures > self.settings.retries:
                raise UserError(
                    f"{self.settings.url} {trouble}, {failures} times in a row; see to the server, or raise "
                    "endpoint.timeout or lower endpoint.concurrency, and run again: what was answered is kept"
                )
            self._pause(pause, failures)

    def ask_all(self, requests: Iterable[Request], journal: Journal) -> Iterator[Completion | Refused]:
        """Ask for all that is not in the journal yet, each once; yields what comes, in the order of coming.

        At most `concurrency` requests are taken from `requests` ahead of the answers. After an error, and on Ctrl-C,
        what is under way is waited for and journalled.

        Raises:
            UserError: as `complete`; or max_cost is spent; or all requests are refused.
        """
        asked: set[str] = set()
        pending: set[Future[Completion | Refused]] = set()
        refusals, waiting = 0, iter(requests)
        self._stopping.clear()
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            try:
                while True:
                    # No more is taken from the iterator than can be under way: it may be millions long.
                    for request in waiting:
                        key = self.key(request)
                        if key in journal or key in asked:
                            continue
                        self._check_cost(journal)
                        asked.add(key)
                        pending.add(pool.submit(self._answer, key, request, journal))
                        if len(pending) == self.settings.concurrency:
                            break
                    if not pending:
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for outcome in [future.result() for future in done]:
                        refusals += isinstance(outcome, Refused)
                        # A few refusals are about what was said; all of them are about the settings.
                        if refusals >= REFUSALS and not len(journal):
                            raise UserError(f"{self.settings.url} refused the first {refusals} requests: {outcome}")
                        yield outcome
            except BaseException:
                self._stopping.set()  # those who wait to try again give up; the pool waits for the others
                raise

    def _answer(self, key: str, request: Request, journal: Journal) -> Completion | Refused:
        try:
            completion = self.complete(request.messages, **request.options)
        except Refused as refused:
            return refused
        journal.add(key, completion)
        return completion

    def _check_cost(self, journal: Journal) -> None:
        if self.max_cost is None:
            return
        spent = self.cost(journal.prompt_tokens, journal.completion_tokens)
        if len(journal) and not journal.prompt_tokens:
            raise UserError(
                f"max_cost: {self.settings.url} does not say how many tokens it takes (no `usage` in its answers), so "
                "costs cannot be watched; leave max_cost out"
            )
        if spent >= self.max_cost:
            raise UserError(
                f"{spent:.4g} is spent, and max_cost is {self.max_cost:g}: {len(journal):,} answers are kept; raise "
                "max_cost and run again to go on from there"
            )

    def _send(self, messages: list[dict[str, str]], options: dict[str, Any]) -> Completion:
        while True:
            named = {self._limit_name if name == "max_tokens" else name: v for name, v in options.items()}
            try:
                answer = self._client.chat.completions.create(
                    model=self.settings.model,
                    messages=messages,  # type: ignore[arg-type]
                    **named,
                )
                break
            except openai.BadRequestError as error:  # OpenAI's newer models know the limit by another name only
                if "max_completion_tokens" not in str(error) or "max_completion_tokens" in named:
                    raise
                self._limit_name = "max_completion_tokens"
        choices = getattr(answer, "choices", None)
        if not choices or choices[0].message is None:
            raise ValueError(str(getattr(answer, "error", None) or answer))
        usage = answer.usage
        return Completion(
            text=choices[0].message.content or "",
            prompt_tokens=(usage and usage.prompt_tokens) or 0,
            completion_tokens=(usage and usage.completion_tokens) or 0,
            finish_reason=choices[0].finish_reason or "stop",
        )

    def _check_status(self, error: openai.APIStatusError) -> None:
        """Leave only what may pass if it is tried again."""
        settings, status = self.settings, error.status_code
        if status == 401:
            held = "the key in it is wrong" if self._key else "it is not set"
            raise UserError(
                f"{settings.url} wants another key (401): endpoint.key_variable is {settings.key_variable}, and {held}"
            ) from error
        if status == 404 or error.code == "model_not_found":
            raise UserError(f"{self._no_such_model()} ({self._said(error)})") from error
        if error.code == "insufficient_quota":
            raise UserError(f"{settings.url}: no credit left: {self._said(error)}") from error
        if status in ABOUT_THE_REQUEST:
            raise Refused(f"{status}: {self._said(error)}") from error
        if status not in WORTH_RETRYING and status < 500:
            raise UserError(f"{settings.url} answered {status}: {self._said(error)}") from error

    def _no_such_model(self) -> str:
        start = f"{self.settings.url} has no model {self.settings.model!r}; "
        try:
            names = sorted(model.id for model in self._client.models.list())
        except (openai.OpenAIError, ValueError, AttributeError):
            return start + "correct endpoint.model, or endpoint.url (most end in /v1)"
        return start + f"correct endpoint.model: it has {', '.join(names[:10]) or 'none'}"

    def _cannot_connect(self) -> str:
        return (
            f"{self.settings.url}: nothing answers there; start the server "
            f"(vllm serve {self.settings.model}, ollama serve, …), or correct endpoint.url"
        )

    def _said(self, error: Exception) -> str:
        """A server's message, without the key and not too long."""
        body = getattr(error, "body", None)
        text = str(body.get("message") or body) if isinstance(body, dict) else str(body or error)
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "***")
        return text if len(text) <= 300 else text[:299] + "…"

    def _pause(self, wanted: float | None, failures: int) -> None:
        if wanted is not None and wanted > LONGEST_RETRY_AFTER:
            raise UserError(
                f"{self.settings.url} asks to wait for {wanted:,.0f} s; run again then: what was answered is kept"
            )
        seconds = wanted if wanted is not None else min(2.0 ** (failures - 1), LONGEST_PAUSE)
        if self._stopping.wait(seconds * random.uniform(1.0, 1.25)):  # not all threads at the same time
            raise UserError(f"{self.settings.url}: given up, since another request failed")


def _retry_after(error: openai.APIStatusError) -> float | None:
    """The seconds that a server asks to wait for, if it does: a number, or a date."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
