"""A server that reads a request and writes the bytes it was told to, one connection each: HTTP only where they are."""

import contextlib
import json
import re
import socket
import threading
import time
from typing import Any


class RawServer:
    """A server in a thread.

    Attributes:
        reply: what it writes, whatever was asked.
        pause: seconds before each byte.
        requests: what it was sent.
    """

    def __init__(self, reply: bytes = b"", pause: float = 0.0) -> None:
        self.reply, self.pause = reply, pause
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            if not self.pause:
                connection.sendall(self.reply)
            for byte in self.reply if self.pause else b"":
                time.sleep(self.pause)
                connection.sendall(bytes([byte]))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # until the other side has read it


def http(body: bytes | Any, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; what is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # Said, as the connection is closed: else the client keeps it, and may learn too late that it has gone.
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
