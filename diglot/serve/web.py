"""What all servers of ours have in common: who may ask them, what their pages may do, and how they open and close a port.

A server on this machine can be reached by every page that a browser on it shows. So three things are asked of a request
before anything is done with it (`Guard`):

* **Host** is an address in numbers, this machine's name or one that was allowed. A page of `evil.example` whose name is
  pointed at 127.0.0.1 afterwards (DNS rebinding) sends its own name there.
* **Origin**, where a browser sends one, is the server's own: no page of another site reads or changes anything.
* **Its body** is of bounded size, and comes within BODY_SECONDS.

Answers carry a content security policy that loads nothing from elsewhere and runs no inline script, so that text which
a model or a file put into a page stays text.

    app = Guard(application)
    listen(app, "127.0.0.1", 8000, opened=lambda address: say(f"open {address}"))
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from diglot.base.errors import UserError

if TYPE_CHECKING:
    import uvicorn

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BYTES = 2_000_000  # of a request; a conversation of 100,000 words has about one million
MOST_DISCARDED = 64_000_000  # of a body that is too long: who is cut off while sending never reads the answer
BODY_SECONDS = 60
CLOSING_SECONDS = 3  # that answers under way have at the end
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        message: why.
        code, param: what a client may look at: a word for the reason, and the setting that is wrong.
        retry_after: seconds after which it may be answered.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after

    def as_json(self) -> dict[str, Any]:
        """In OpenAI's form."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class Guard:
    """Stands before an ASGI application; lets through what may come, and adds headers to every answer.

    Attributes:
        names: hosts that a request may ask for beside addresses in numbers, in lower case.
    """

    def __init__(
        self, app: Application, names: Iterable[str] = (), max_bytes: int = MAX_BYTES, policy: str = POLICY
    ) -> None:
        """Prepare.

        Args:
            app: the ASGI application behind it.
            names: hosts that may be asked for, beside localhost, this machine's name and addresses in numbers.
            max_bytes: of a request's body.
            policy: the content security policy of answers that name none of their own.
        """
        self.app, self.max_bytes = app, max_bytes
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self._headers = {**HEADERS, "content-security-policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                ours = [(name.encode(), value.encode()) for name, value in self._headers.items()]
                message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in named)]
            await send(message)

        try:
            self._check(scope)
            body = await self._body(receive)
        except Refusal as refusal:
            await _answer(refusal, send_with_headers)
            return
        await self.app(scope, _again(body, receive), send_with_headers)

    def _check(self, scope: Scope) -> None:
        """Whether a request comes from where it may.

        Raises:
            Refusal: it does not.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        name = _name_of(host)
        if name not in self.names and not _is_address(name):
            raise Refusal(403, f"this server does not answer for the host {name!r} (--allow-host would let it)", "host")
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            raise Refusal(403, "pages of other sites may not ask this server", "origin")
        # A link on another site may lead to a page here; its scripts, forms and pictures may not.
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            raise Refusal(403, "pages of other sites may not ask this server", "origin")

    async def _body(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Refusal: it is too long, or takes too long.
        """
        body, size, more = bytearray(), 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and size <= MOST_DISCARDED:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "the request broke off")  # nobody hears it
                    piece = message.get("body", b"")
                    size, more = size + len(piece), message.get("more_body", False)
                    if size <= self.max_bytes:
                        body += piece
        except TimeoutError as error:
            raise Refusal(408, f"the request did not come within {BODY_SECONDS} seconds") from error
        if size > self.max_bytes:
            raise Refusal(413, f"the request has more than {self.max_bytes:,} bytes", "request_too_large")
        return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more; then what comes after it, such as the end of the connection."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


async def _answer(refusal: Refusal, send: Send) -> None:
    text = json.dumps(refusal.as_json()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _name_of(host: str) -> str:
    """A host without its port, and an IPv6 address without brackets; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host's ports."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def make_server(app: Application, host: str, port: int) -> tuple[uvicorn.Server, socket.socket]:
    """A server, and the open socket that it is to run on; connections wait there until it does.

    Args:
        app: an ASGI application.
        host: a name or an address of this machine; `0.0.0.0` or `::` are all of them.
        port: 0 for a free one.

    Raises:
        UserError: the extra `serve` is missing, or the port cannot be had.
    """
    try:
        import uvicorn  # extra: serve
    except ImportError as error:
        raise UserError("servers and pages need uvicorn and starlette: pip install 'diglot[serve]'") from error
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{host}:{port}: cannot listen there ({reason}); choose others with --host and --port"
        ) from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    return uvicorn.Server(config), listening


def listen(app: Application, host: str, port: int, opened: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        app: an ASGI application, behind a `Guard`.
        host: as `make_server`.
        port: 0 for a free one.
        opened: is told the address once connections are accepted.

    Raises:
        UserError: as `make_server`.
    """
    server, listening = make_server(app, host, port)
    shown = f"[{host}]" if ":" in host else host
    opened(f"http://{shown}:{listening.getsockname()[1]}")
    with contextlib.suppress(KeyboardInterrupt), listening:  # uvicorn raises it again after it has closed all
        server.run(sockets=[listening])
