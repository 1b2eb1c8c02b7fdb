"""What goes over the wire to a model server: whole within its time, of bounded size, and to no other host.

`httpx2` limits the time between two bytes, so that a server that sends one a second is never late, and reads a body of
any length. Here the time is that of the whole request, from finding the host to the last byte, and a body is read
(decompressed, piece by piece) up to LARGEST. A redirect is an answer like any other: neither the key nor what was
asked goes to where it points.

All requests share one event loop in a thread of its own, since only there a request can be broken off at any point.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any, NamedTuple

import httpx2

from diglot.base.errors import UserError
from diglot.base.format import public_address

LARGEST = 4_000_000  # bytes; an answer of 2,048 tokens has 20,000


class TooLarge(Exception):
    """An answer of more than LARGEST bytes."""


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: httpx2.Headers
    body: bytes


class Wire:
    """Requests to one server."""

    def __init__(self, url: str, key: str, seconds: float):
        """Prepare; nothing is sent yet.

        Args:
            url: the base address.
            key: sent as the bearer's token, unless it is empty; a name and password in the address come first.
            seconds: that a whole request may take.

        Raises:
            UserError: the address cannot be right.
        """
        self.address, self.seconds = _parsed(url), seconds
        self._loop = asyncio.new_event_loop()
        self._http = httpx2.AsyncClient(
            timeout=None,  # the whole request has one
            limits=httpx2.Limits(max_connections=None),
            follow_redirects=False,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True).start()

    def send(self, method: str, path: str, value: Any = None) -> Reply:
        """Send a request and wait for the whole answer.

        Args:
            method: GET or POST.
            path: below the base address.
            value: sent as JSON.

        Raises:
            TimeoutError: it took too long.
            TooLarge: the answer is too long.
            httpx2.HTTPError: the connection failed, or what came is not HTTP.
        """
        return asyncio.run_coroutine_threadsafe(self._send(method, path, value), self._loop).result()

    async def _send(self, method: str, path: str, value: Any) -> Reply:
        url = self.address.copy_with(path=self.address.path.rstrip("/") + path)
        content = None if value is None else json.dumps(value).encode()
        headers = {} if value is None else {"Content-Type": "application/json"}
        async with asyncio.timeout(self.seconds):
            async with self._http.stream(method, url, content=content, headers=headers) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise TooLarge
                return Reply(response.status_code, response.headers, bytes(body))

    def close(self) -> None:
        """Close all connections."""
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)


def _parsed(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):  # its words would show a part of the password
        address = httpx2.URL("")
    possible = address.host and (address.port or 0) < 2**16 and not re.search(r"\s", url)
    if address.scheme not in ("http", "https") or not possible:
        raise UserError(f"endpoint.url {public_address(url)!r}: an address such as http://127.0.0.1:8000/v1 is wanted")
    return address
