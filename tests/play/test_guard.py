"""Only those talk to a server who may: on loopback this machine's own pages, elsewhere a token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.play.guard import Guard, checked_token

TOKEN = "a-token-of-some-length"


async def inner(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(at: str, token: str = "", kind: str = "http", query: str = "", **headers: str) -> Any:
    """The first thing that is sent back."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": "/", "query_string": query.encode(), "headers": pairs}
    asyncio.run(Guard(inner, at, token)(scope, receive, send))
    return sent[0]


def status(*args: Any, **kwargs: Any) -> int:
    return ask(*args, **kwargs)["status"]


def test_this_machine_is_let_in_by_its_own_names() -> None:
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert status("127.0.0.1", host=host, origin=f"http://{host}") == 200
    answer = ask("127.0.0.1", host="localhost")
    assert b"content-security-policy" in dict(answer["headers"])


def test_a_page_of_another_site_is_refused() -> None:
    assert status("127.0.0.1", host="evil.example:8000") == 403
    assert status("127.0.0.1", host="") == 403
    assert status("127.0.0.1", host="localhost:8000", origin="http://evil.example") == 403
    assert status("127.0.0.1", host="localhost:8000", origin="http://localhost:1") == 403
    assert status("127.0.0.1", host="localhost:8000", origin="null") == 403
    socket = ask("127.0.0.1", "", "websocket", host="localhost", origin="http://evil.example")
    assert socket["type"] == "websocket.close"


def test_elsewhere_a_token_is_asked_for_and_kept_in_a_cookie() -> None:
    there = {"host": "box:8000"}
    assert status("0.0.0.0", TOKEN, **there) == 401
    assert status("0.0.0.0", TOKEN, query="token=wrong", **there) == 401
    assert ask("0.0.0.0", TOKEN, "websocket", **there)["type"] == "websocket.close"
    answer = ask("0.0.0.0", TOKEN, query=f"token={TOKEN}", **there)
    headers = dict(answer["headers"])
    assert answer["status"] == 303 and headers[b"location"] == b"/"
    cookie = headers[b"set-cookie"].decode().partition(";")
    assert "HttpOnly; SameSite=Strict" in cookie[2]
    assert status("0.0.0.0", TOKEN, cookie=cookie[0], **there) == 200
    accepted = ask("0.0.0.0", TOKEN, "websocket", cookie=cookie[0], **there)
    assert accepted["type"] == "websocket.accept"
    foreign = {"cookie": cookie[0], "origin": "http://evil.example"}
    assert status("0.0.0.0", TOKEN, **there, **foreign) == 403


def test_nobody_listens_to_others_without_a_token() -> None:
    with pytest.raises(ConfigError, match="--token new"):
        checked_token("0.0.0.0", "")
    with pytest.raises(ConfigError, match="at least 16"):
        checked_token("127.0.0.1", "short")
    assert checked_token("localhost", "") == checked_token("127.0.0.9", "") == ""
    assert len(checked_token("::", "new")) > 20
