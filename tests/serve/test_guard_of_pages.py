"""Who may ask our servers, over real connections."""

import json
import socket
from collections.abc import Iterator

import pytest
from web_server import ask, serving

from diglot.base.errors import UserError
from diglot.serve.web import POLICY, Guard, is_loopback, listen, make_server


async def echo(scope, receive, send) -> None:
    """Answers with the body that came."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    message = await receive()
    assert not message["more_body"]
    own = [(b"content-security-policy", b"default-src 'self'")] if scope["path"] == "/own" else []
    await send({"type": "http.response.start", "status": 200, "headers": own})
    await send({"type": "http.response.body", "body": message["body"]})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Guard(echo, names=["Models.Example"], max_bytes=1000)) as port:
        yield port


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{}", 200),
        ("localhost:{}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{}", 200),
        ("192.168.1.7:{}", 200),
        (socket.gethostname(), 200),
        ("models.example:{}", 200),
        ("evil.example:{}", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:{}", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_hosts(port, host, status):
    answered, _, body = ask(port, Host=host.format(port))
    assert answered == status
    if status == 403:
        assert json.loads(body)["error"]["code"] == "host"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{}"}, 200),
        ({"Origin": "https://127.0.0.1:{}"}, 200),  # behind a proxy that speaks TLS
        ({"Origin": "http://127.0.0.1"}, 403),  # another server of this machine
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://6.6.6.6:{}"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
    ],
)
def test_pages_of_other_sites(port, headers, status):
    given = {name: value.format(port) for name, value in headers.items()}
    assert ask(port, "POST", body=b"x", **given)[0] == status


def test_a_link_on_another_site_may_lead_here_and_its_form_may_not(port):
    navigating = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(port, "GET", **navigating)[0] == 200
    assert ask(port, "POST", body=b"vote=a", **navigating)[0] == 403


def test_bodies_are_whole_and_bounded(port):
    assert ask(port, "POST", body=b"a" * 1000)[2] == b"a" * 1000
    status, _, body = ask(port, "POST", body=b"a" * 1001)
    assert status == 413
    assert json.loads(body)["error"]["code"] == "request_too_large"
    assert ask(port, "POST", body=b"a" * 30_000_000)[0] == 413  # read to its end, so that the answer is heard
    # In pieces, without a length said before.
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + (b"1f4\r\n" + b"b" * 500 + b"\r\n") * 3 + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_every_answer_carries_the_policy(port):
    for headers in (ask(port)[1], ask(port, Host="evil.example")[1]):
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert "unsafe" not in POLICY
    assert ask(port, path="/own")[1]["content-security-policy"] == "default-src 'self'"


def test_web_sockets_are_refused(port):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AA==",
    }
    assert ask(port, **upgrade)[0] != 101


def test_ports_that_cannot_be_had(port):
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}: cannot listen there \(Address already in use\)"):
        make_server(echo, "127.0.0.1", port)
    with pytest.raises(UserError, match=r"no\.such\.host\.invalid:1: cannot listen there"):
        listen(echo, "no.such.host.invalid", 1, print)


def test_loopback():
    assert [host for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1") if not is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "192.168.0.2", "example.org", "") if is_loopback(host)] == []
