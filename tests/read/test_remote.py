"""A changed file at a URL is noticed before it is read."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from diglot.base.hashes import MEMORY, FileHashes
from diglot.load import Where
from diglot.read.remote import state_of

pytest.importorskip("aiohttp")


class _Handler(http.server.BaseHTTPRequestHandler):
    said: dict[str, str] = {}  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.endswith(".jsonl") else 404)
        for name, value in self.said.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Handler.said = {"Content-Length": "100", "ETag": '"a"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_what_a_server_says_is_the_same_until_a_file_changes(server: str) -> None:
    url = f"{server}/a.jsonl"
    first = state_of(url)
    assert first == state_of(url) is not None
    _Handler.said["Last-Modified"] = "Tue, 02 Jan 2024 00:00:00 GMT"  # the ETag goes before it
    assert state_of(url) == first
    _Handler.said["ETag"] = '"b"'
    assert state_of(url) not in (first, None)
    _Handler.said |= {"ETag": '"a"', "Content-Length": "101"}
    assert state_of(url) not in (first, None)


def test_what_cannot_be_reached_is_none(server: str) -> None:
    assert state_of(f"{server}/none") is None
    assert state_of("http://127.0.0.1:9/a.jsonl") is None
    assert state_of("nothing-of-this-name://a.jsonl") is None


def test_without_the_network_what_was_said_before_holds(tmp_path: Path) -> None:
    memory, paths, where = tmp_path / MEMORY, {("path",): "http://example.invalid/a.jsonl"}, Where("recipe.yaml")
    assert FileHashes(memory).of_paths(paths, where) == {paths[("path",)]: "url"}
    hashes = FileHashes(memory)
    assert hashes.of_paths(paths, where, ask=lambda url: "state") == {paths[("path",)]: "state"}
    hashes.save()
    for believe in (True, False):
        later = FileHashes(memory, believe=believe)
        assert later.of_paths(paths, where) == {paths[("path",)]: "state"}
        assert later.of_paths(paths, where, ask=lambda url: None) == {paths[("path",)]: "state"}
        assert later.of_paths(paths, where, ask=lambda url: "other") == {paths[("path",)]: "state"}  # asked once
        changed = FileHashes(memory, believe=believe)
        assert changed.of_paths(paths, where, ask=lambda url: "other") == {paths[("path",)]: "other"}
        assert changed.changed_since({paths[("path",)]: "state"}) == []
