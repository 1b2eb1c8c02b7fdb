"""Servers that answer what no server should: judged before it is kept, bounded in time and size, and told without secrets."""

import gzip
import json
from pathlib import Path

import pytest
from raw_server import RawServer, http

from diglot.base.errors import UserError
from diglot.endpoint.client import Client, Completion, Journal, Refused, Request
from diglot.recipe.endpoint import Endpoint

SECRET = "sk-Zq81-'do'-not-tell"
HELLO = [{"role": "user", "content": "hello"}]


def answer(content: object = "مرحبا", **usage: object) -> dict:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return {"choices": [choice], **({"usage": usage} if usage else {})}


def ask(server: RawServer, **settings: object) -> Completion:
    url = settings.pop("url", server.url)
    with Client(Endpoint(**{"url": url, "model": "m", "retries": 0, "timeout": 20.0, **settings})) as client:
        return client.complete(HELLO)


NO_COMPLETIONS = {
    "null": b"null",
    "a number": b"5",
    "nothing": b"",
    "not UTF-8": b'{"choices": "\xff"}',
    "deep": b'{"choices": ' + b"[" * 100_000,
    "deep in a field that is not read": b'{"choices": [], "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "digits": b'{"choices": ' + b"9" * 5000 + b"}",
    "no choices": {"usage": None},
    "choices are null": {"choices": None},
    "choices are a number": {"choices": 5},
    "choices are text": {"choices": "abc"},
    "choices are a mapping": {"choices": {"0": {"message": {"content": "x"}}}},
    "choices are empty": {"choices": []},
    "a choice is null": {"choices": [None]},
    "a message is null": {"choices": [{"message": None}]},
    "a message is text": {"choices": [{"message": "x"}]},
    "a message is missing": {"choices": [{"text": "x"}]},
    "content is a list": answer([{"type": "text", "text": "x"}]),
    "content is a number": answer(5),
    "content is a mapping": answer({"text": "x"}),
    "content is half a character": answer("a\ud83d"),
    "the reason is a list": {"choices": [{"message": {"content": "x"}, "finish_reason": ["stop"]}]},
    "usage is text": {**answer(), "usage": "5"},
    "a count is NaN": answer(prompt_tokens=float("nan")),
    "a count is infinite": answer(completion_tokens=float("inf")),
    "a count is below 0": answer(prompt_tokens=-3),
    "a count is a word": answer(prompt_tokens="many"),
    "a count is a list": answer(prompt_tokens=[1]),
    "a count is half": answer(prompt_tokens=1.5),
    "a count is huge": answer(prompt_tokens=10**30),
}


@pytest.mark.parametrize("what", NO_COMPLETIONS)
def test_what_is_no_completion_is_never_kept(what: str) -> None:
    with pytest.raises(UserError, match="no chat completion"):
        ask(RawServer(http(NO_COMPLETIONS[what])))


@pytest.mark.parametrize(
    ("value", "text", "tokens"),
    [
        (answer("a\x00b\u2028"), "a\x00b\u2028", (0, 0)),
        (answer(None), "", (0, 0)),
        (answer("x", prompt_tokens="12", completion_tokens=3.0), "x", (12, 3)),
        (answer("x", prompt_tokens=None, completion_tokens=10**12), "x", (0, 10**12)),
        ({**answer("x"), "usage": None, "more": [{"a": float("nan")}]}, "x", (0, 0)),
    ],
)
def test_what_is_one_is_kept_and_read_again(tmp_path: Path, value: dict, text: str, tokens: tuple) -> None:
    completion = ask(RawServer(http(value)))
    assert completion == Completion(text, *tokens, "stop")
    with Journal(tmp_path / "answers.jsonl") as journal:
        journal.add("0f" * 16, completion)
    with Journal(tmp_path / "answers.jsonl") as journal:
        assert journal.get("0f" * 16) == completion
        assert (journal.prompt_tokens, journal.completion_tokens) == tokens


def test_an_answer_that_was_journalled_without_judgement_is_asked_for_again(tmp_path: Path) -> None:
    lines = [
        ["0" * 31 + "1", ["a list"], 1, 1, "stop"], ["0" * 31 + "2", "x", float("nan"), 1, "stop"],
        ["0" * 31 + "3", "x", -1, 1, "stop"], ["0" * 31 + "4", "\ud800", 1, 1, "stop"], ["0" * 31 + "5", "x", "1", 1, "stop"],
        ["0" * 31 + "6", "x", 1, 1, None], [5, "x", 1, 1, "stop"], "x", None, {}, ["0" * 31 + "7", "good", 1, 2, "stop"],
    ]  # fmt: skip
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "[" * 100_000 + "\n")
    with Journal(file) as journal:
        assert (len(journal), journal.prompt_tokens, journal.completion_tokens) == (1, 1, 2)
        assert journal.get("0" * 31 + "7") == Completion("good", 1, 2, "stop")


def test_one_text_that_is_never_answered_ends_no_run(tmp_path: Path) -> None:
    server = RawServer(http(answer()))
    requests = [Request([{"role": "user", "content": text}]) for text in ("one", "two", "three")]
    settings = Endpoint(url=server.url, model="m", retries=1, concurrency=1)
    with Journal(tmp_path / "answers.jsonl") as journal, Client(settings) as client:
        assert [type(each) for each in client.ask_all(requests[:1], journal)] == [Completion]
    # A later run: nothing was answered in it, but the journal says that the server can.
    server.reply = http(answer("\ud800"))
    with Journal(tmp_path / "answers.jsonl") as journal, Client(settings) as client:
        [outcome] = client.ask_all(requests[:2], journal)
        assert isinstance(outcome, Refused)
        assert "2 times in a row" in str(outcome)
        server.reply = http(answer("3"))
        assert len(list(client.ask_all(requests, journal))) == 2
        assert len(journal) == 3


def test_a_server_that_has_gone_astray_ends_the_run(tmp_path: Path) -> None:
    server = RawServer(http(answer()))
    requests = [Request([{"role": "user", "content": str(number)}]) for number in range(60)]
    settings = Endpoint(url=server.url, model="m", retries=0, concurrency=2)
    with Journal(tmp_path / "answers.jsonl") as journal, Client(settings) as client:
        list(client.ask_all(requests[:3], journal))
        server.reply = http(b"<html>Log in to the network of this train</html>")
        with pytest.raises(UserError, match=r"refused 20 requests in a row: .*Log in"):
            list(client.ask_all(requests, journal))
        assert len(journal) == 3


@pytest.mark.parametrize("reply", [http(answer("x" * 1000)), b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000 + b"\r\n\r\n"])
def test_a_server_that_sends_a_byte_now_and_then_is_late(reply: bytes) -> None:
    with pytest.raises(UserError, match=r"gave no answer in 1 s \(endpoint.timeout\)"):  # it would send for minutes
        ask(RawServer(reply, pause=0.3), timeout=1.0)


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    for reply in (http(answer("x" * 4_100_000)), http(gzip.compress(b" " * 500_000_000, 1), content_encoding="gzip")):
        with pytest.raises(UserError, match="answered more than 4,000,000 bytes"):
            ask(RawServer(reply))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_sends_nothing_to_another_host(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    other = RawServer(http(answer()))
    server = RawServer(http(b"", status, location=f"http://me:{SECRET}@127.0.0.1:{other.port}/v1?k={SECRET}"))
    with pytest.raises(
        UserError, match=r"redirects to http://\*\*\*@127.0.0.1:\d+/v1 .*nothing was sent there"
    ) as error:
        ask(server, key_variable="MY_KEY")
    assert SECRET not in str(error.value)
    assert len(server.requests) == 1
    assert not other.requests


ECHOES = {
    "a status line": f"HTTP/1.1 2x0 Bearer {SECRET}\r\n\r\n".encode(),
    "no HTTP": f"Bearer {SECRET}".encode(),
    "a header": f"HTTP/1.1 200 OK\r\nAuthorization {SECRET}\r\n\r\n".encode(),
    "a length": f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n".encode(),
    "an error": http({"error": {"message": f"wrong key {SECRET}"}}, "403 Forbidden"),
    "an error as text": http({"error": f"wrong key {SECRET}"}, "500 Error"),
    "a page": http(f"<html>{SECRET}</html>".encode()),
    "a page with escapes": http(f"\x1b[2J{SECRET}\x07".encode(), "502 Bad Gateway"),
    "a code": http({"error": {"message": SECRET, "code": "insufficient_quota"}}, "429 Slow"),
    "an encoding": http(SECRET.encode(), content_encoding="gzip"),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("place", ["the key", "the password", "the query"])
def test_secrets_that_a_server_says_again_are_not_shown(monkeypatch: pytest.MonkeyPatch, echo: str, place: str) -> None:
    server = RawServer(ECHOES[echo])
    settings = {
        "the key": {"key_variable": "MY_KEY"},
        "the password": {"url": f"http://me:{SECRET}@127.0.0.1:{server.port}/v1"},
        "the query": {"url": f"{server.url}?api-key={SECRET}"},
    }[place]
    monkeypatch.setenv("MY_KEY", SECRET if place == "the key" else "")
    with pytest.raises(UserError) as error:
        ask(server, **settings)
    assert SECRET not in str(error.value)
    assert "do'-not" not in str(error.value)
    assert "\x1b" not in str(error.value)
    sent = server.requests[0].decode()
    assert SECRET in sent or "Basic " in sent or "api-key=sk-Zq81" in sent  # the server did get it


@pytest.mark.parametrize(
    "url",
    ["http://me:s3/cret@host/v1", "http://me:s3?cret@host/v1", "http://me:s3cret@", "http://me:s3cret@host:port/v1", "ftp://me:s3cret@host", "me:s3cret@host/v1",
     "http://", "", "http://[::1/v1", "http://host:99999/v1", "//me:s3cret@host", "http://me:s3cret@ho st/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UserError, match="an address such as http") as error:
        Client(Endpoint(url=url, model="m"))
    assert "s3" not in str(error.value)


def test_costs_are_watched_only_where_every_answer_has_counts(tmp_path: Path) -> None:
    server = RawServer(http(answer(prompt_tokens=5, completion_tokens=1)))
    settings = Endpoint(url=server.url, model="m", concurrency=1, price_in=1.0)
    requests = [Request([{"role": "user", "content": str(number)}]) for number in range(9)]
    with Journal(tmp_path / "answers.jsonl") as journal, Client(settings, max_cost=1.0) as client:
        asked = client.ask_all(requests, journal)
        assert isinstance(next(asked), Completion)
        server.reply = http(answer())
        with pytest.raises(UserError, match="does not say how many tokens"):
            list(asked)


@pytest.mark.parametrize(
    "wait", ["nan", "inf", "-5", "x", "1e400", "Thu, 99 Foo 2020", "Mon, 01 Jan 0001 00:00:00 +9999", "\t"]
)
def test_any_time_to_wait_is_understood_or_passed_over(wait: str) -> None:
    with pytest.raises(UserError, match=r"answered 503|asks to wait for inf"):
        ask(RawServer(http(b"", "503 Busy", retry_after=wait)))
