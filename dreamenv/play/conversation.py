"""`Conversation`: one connection of a page: what it says is handled in order, between two steps."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

from dreamenv.core.errors import DreamEnvError
from dreamenv.play.book import Book, Entry, FullError
from dreamenv.play.limits import Meter
from dreamenv.play.messages import BadMessageError, Message, read_message

if TYPE_CHECKING:
    from dreamenv.play.session import Out

BAD, TAKEN, ENDED, SLOW, FLOOD, FULL, FAILED = 4400, 4409, 4410, 4411, 4429, 4503, 4500
"""Codes with which a connection is closed; the page tells the reason that comes with them."""
MOST_REASON = 120
"""Bytes of a reason, which the protocol limits."""


class Socket(Protocol):
    """What is used of a WebSocket of Starlette."""

    async def receive(self) -> Any:
        """The next event."""

    async def send_text(self, data: str) -> None:
        """Send text."""

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a code and a reason."""


class _Closed(Exception):
    """The connection ends, with a code and a reason; without them the page has gone by itself."""

    def __init__(self, code: int = 0, reason: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Conversation:
    """One accepted connection, from its first message to its end.

    Whatever goes wrong in it ends this connection alone. A page that has misbehaved loses its
    session; one that has only gone away can come back to it.

    Args:
        socket: accepted.
        book: of the server's sessions.
    """

    def __init__(self, socket: Socket, book: Book) -> None:
        self._socket, self._book, self._limits = socket, book, book.limits
        self._inbox: asyncio.Queue[Message | _Closed] = asyncio.Queue()
        self._meter = Meter(book.limits.rate, book.clock)

    async def run(self) -> None:
        """Talk until one side ends it."""
        entry: Entry | None = None
        reader: asyncio.Task[None] | None = None
        closed = _Closed()
        try:
            entry = await self._enter()
            reader = asyncio.create_task(self._read())
            async with entry.lock:
                entry.left = None
                await self._play(entry)
        except _Closed as end:
            closed = end
        except DreamEnvError as error:
            closed = _Closed(FAILED, str(error))
        except Exception as error:  # a fault of ours: of this session, not of the server
            closed = _Closed(FAILED, f"the session failed: {type(error).__name__}: {error}")
            _report(error)
        finally:
            if reader is not None:
                reader.cancel()
            if entry is not None and closed.code != TAKEN:
                entry.left = self._book.clock()
                if closed.code in (BAD, FLOOD, FAILED, ENDED):
                    await self._book.end(entry, closed.reason)
        if closed.code:
            reason = closed.reason.encode()[:MOST_REASON].decode(errors="ignore")
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await self._socket.close(closed.code, reason)

    async def _enter(self) -> Entry:
        try:
            async with asyncio.timeout(self._limits.hello):
                first = await self._next()
        except TimeoutError:
            raise _Closed(BAD, "nothing was said; hello is the first message") from None
        if first.kind != "hello":
            raise _Closed(BAD, f"hello is the first message, not {first.kind}")
        try:
            entry = self._book.enter(first.values["resume"])
        except FullError:
            most = self._limits.sessions
            raise _Closed(FULL, f"all {most} sessions are in use; try again later") from None
        entry.owner = self  # if another connection plays it, that one gives way
        return entry

    async def _next(self) -> Message:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise _Closed
        if not self._meter.take():
            raise _Closed(FLOOD, f"more than {self._limits.rate:.0f} messages a second")
        try:
            return read_message(event.get("text"))
        except BadMessageError as error:
            raise _Closed(BAD, str(error)) from error

    async def _read(self) -> None:
        """Bring what the page says into the inbox, up to the end."""
        while True:
            try:
                message = await self._next()
            except _Closed as end:
                self._inbox.put_nowait(end)
                return
            except Exception as error:
                self._inbox.put_nowait(_Closed(FAILED, f"{type(error).__name__}: {error}"))
                return
            if self._inbox.qsize() >= self._limits.waiting:
                self._inbox.put_nowait(_Closed(FLOOD, "more is said than can be done"))
                return
            self._inbox.put_nowait(message)

    async def _play(self, entry: Entry) -> None:
        session, loop = entry.session, asyncio.get_running_loop()
        await self._send(await session.welcome(entry.token))
        while True:
            # All sessions of one speed step at the same moments: the dreams are one batch then.
            due = (int(loop.time() * session.fps) + 1) / session.fps
            while (left := due - loop.time()) > 0:
                try:
                    async with asyncio.timeout(left):
                        message = await self._inbox.get()
                except TimeoutError:
                    break
                await self._heed(entry, message)
            while not self._inbox.empty():  # before the step, and not one step late
                await self._heed(entry, self._inbox.get_nowait())
            self._require_goes_on(entry)
            await self._send(await session.tick())

    async def _heed(self, entry: Entry, message: Message | _Closed) -> None:
        if isinstance(message, _Closed):
            raise message
        entry.heard = self._book.clock()
        try:
            await self._send(await entry.session.handle(message))
        except BadMessageError as error:
            raise _Closed(BAD, str(error)) from error

    def _require_goes_on(self, entry: Entry) -> None:
        if entry.owner is not self:
            raise _Closed(TAKEN, "this session goes on in another window")
        if entry.ended:
            raise _Closed(ENDED, entry.ended)

    async def _send(self, messages: list[Out]) -> None:
        try:
            async with asyncio.timeout(self._limits.send):
                for message in messages:
                    if isinstance(message, bytes):
                        await self._socket.send_bytes(message)
                    else:
                        await self._socket.send_text(json.dumps(message, allow_nan=False))
        except TimeoutError:
            raise _Closed(SLOW, "the page does not take its pictures") from None
        except Exception as error:  # whatever the server says where the page has gone
            raise _Closed from error


def _report(error: Exception) -> None:
    import logging

    logging.getLogger(__name__).error("a session failed", exc_info=error)
