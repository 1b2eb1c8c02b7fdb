"""A server of ours in a thread of the test, on a port of its own."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

from diglot.serve.web import Application, make_server


@contextlib.contextmanager
def serving(app: Application) -> Iterator[int]:
    """Run an ASGI application while the block lasts; yields its port on 127.0.0.1."""
    server, listening = make_server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def ask(
    port: int, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request: status, headers in lower case, body. `Host` and others are given as Sec_Fetch_Site='none'."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return response.status, named, response.read()
    finally:
        connection.close()
