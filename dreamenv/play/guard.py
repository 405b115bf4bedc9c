"""`Guard`: who may talk to a server, told from the headers of a request before anything is done.

On loopback anybody on this machine may, but no page of another site: a browser would carry its
requests here. So the host must be this one by name (a foreign name that leads here is refused),
and where a browser tells the origin of a page, it must be a page of this server. Elsewhere a token
is asked for as well, once in the address, then in a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dreamenv.core.errors import ConfigError

LOCAL = ("localhost", "127.0.0.1", "::1")
SHORTEST = 16
"""Characters of a token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of every answer: a page loads nothing from elsewhere, and is shown in no page of others."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def is_local(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_token(host: str, token: str) -> str:
    """The token of a server that listens at `host`, "" for none; "new" draws one.

    Raises:
        ConfigError: others can reach the host, and there is no token, or too short a one.
    """
    if token == "new":
        return secrets.token_urlsafe(24)
    if token and len(token) < SHORTEST:
        raise ConfigError(f"a token has at least {SHORTEST} characters; --token new draws one")
    if not token and not is_local(host):
        raise ConfigError(
            f"at {host} others can reach this server, act in it and fill its disk; give --token "
            "new, and open the address that is then printed, or listen at 127.0.0.1"
        )
    return token


class Guard:
    """An ASGI application around another, which only sees requests that may be answered.

    Args:
        app: the application inside.
        host: where the server listens.
        token: that is asked for; "" for none.
    """

    def __init__(self, app: Any, host: str, token: str) -> None:
        self._app, self._local, self._token = app, is_local(host), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on a request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in
                   scope["headers"]}  # fmt: skip
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if reason := self._foreign(headers):
            await _refuse(scope, receive, send, 403, reason)
        elif not self._token or self._knows(_cookie(headers, self._name(headers))):
            await self._app(scope, receive, _with_headers(send))
        elif self._knows(asked) and scope["type"] == "http":
            cookie = f"{self._name(headers)}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            extra = [(b"location", scope["path"].encode()), (b"set-cookie", cookie.encode())]
            await _answer(send, 303, "", extra)
        elif self._knows(asked):
            await self._app(scope, receive, _with_headers(send))
        else:
            await _refuse(scope, receive, send, 401, "open the address with ?token=… at its end")

    def _foreign(self, headers: dict[str, str]) -> str:
        """Why a request is of another site, or ""."""
        host = headers.get("host", "")
        if self._local and urlsplit(f"//{host}").hostname not in LOCAL:
            return f"this server is at localhost, not at {host!r:.60}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"this server answers its own pages, not those of {origin!r:.60}"
        return ""

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())

    def _name(self, headers: dict[str, str]) -> str:
        """The cookie's name: a browser gives cookies to all ports of a host."""
        port = urlsplit(f"//{headers.get('host', '')}").port
        return f"dreamenv-{port or 80}"


def _cookie(headers: dict[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _with_headers(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return sending


async def _answer(
    send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    start = [(b"content-type", b"text/plain; charset=utf-8"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": text.encode()})


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "http":
        await _answer(_with_headers(send), status, reason)
    else:
        await receive()  # the connection's first event; refused, it is answered with 403
        await send({"type": "websocket.close", "code": 4401, "reason": reason})
