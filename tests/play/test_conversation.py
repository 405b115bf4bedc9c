"""Connections: hostile ones end alone and with a reason, honest ones come back to their session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dreamenv.play.book import Book
from dreamenv.play.conversation import (
    BAD,
    ENDED,
    FAILED,
    FLOOD,
    FULL,
    SLOW,
    TAKEN,
    Conversation,
)
from dreamenv.play.limits import Limits
from dreamenv.play.messages import BadMessageError, Message


class FakeSession:
    """Counts its steps; a message `fork` breaks it, `branch` does not fit it."""

    fps = 60.0

    def __init__(self) -> None:
        self.steps, self.heard, self.closed = 0, list[str](), False

    async def welcome(self, token: str) -> list[Any]:
        return [{"type": "welcome", "session": token, "steps": self.steps}]

    async def handle(self, message: Message) -> list[Any]:
        self.heard.append(message.kind)
        if message.kind == "fork":
            raise ZeroDivisionError("a fault")
        if message.kind == "branch":
            raise BadMessageError("there is no such branch")
        return []

    async def tick(self) -> list[Any]:
        self.steps += 1
        return [b"picture"]

    async def close(self) -> None:
        self.closed = True


class FakeSocket:
    """A page that says what it is told to, and keeps what it hears."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.takes = True

    def say(self, kind: str, **values: Any) -> None:
        self.events.put_nowait(
            {"type": "websocket.receive", "text": json.dumps({"type": kind, **values})}
        )

    def go(self) -> None:
        self.events.put_nowait({"type": "websocket.disconnect"})

    async def receive(self) -> Any:
        return await self.events.get()

    async def send_text(self, data: str) -> None:
        self.heard.append(json.loads(data))

    async def send_bytes(self, data: bytes) -> None:
        if not self.takes:
            await asyncio.sleep(60)
        self.heard.append(data)

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


class House:
    """A book of fake sessions, and connections to it."""

    def __init__(self, **limits: Any) -> None:
        self.sessions: list[FakeSession] = []
        self.now = 0.0
        self.book = Book(self._make, Limits(**limits), lambda: self.now)  # type: ignore[arg-type]

    def _make(self) -> FakeSession:
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def connect(self, resume: str | None = None, hello: bool = True) -> FakeSocket:
        socket = FakeSocket()
        if hello:
            socket.say("hello", resume=resume)
        socket.task = asyncio.create_task(Conversation(socket, self.book).run())  # type: ignore
        return socket


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(within())


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("attack", "code", "reason"),
    [
        (lambda s: s.events.put_nowait({"type": "w", "bytes": b"x"}), BAD, "binary"),
        (lambda s: s.say("delete"), BAD, "no message"),
        (lambda s: s.say("hello"), BAD, "said already|hello"),
        (lambda s: s.say("begin", start="x" * 20_000), BAD, "at most"),
        (lambda s: s.say("branch", index=5), BAD, "no such branch"),
        (lambda s: [s.say("pause", on=True) for _ in range(500)], FLOOD, "messages a second"),
        (lambda s: s.say("fork"), FAILED, "a fault"),
    ],
)  # fmt: skip
def test_a_hostile_page_loses_its_own_session_and_no_other(
    attack: Callable[[FakeSocket], Any], code: int, reason: str
) -> None:
    async def story() -> None:
        house = House()
        honest, hostile = house.connect(), house.connect()
        await until(lambda: b"picture" in hostile.heard and b"picture" in honest.heard)
        if reason.startswith("said"):
            house.sessions[1].handle = _refuse  # type: ignore[method-assign]
        attack(hostile)
        await hostile.task  # type: ignore[attr-defined]
        assert hostile.closed is not None and hostile.closed[0] == code
        assert any(word in hostile.closed[1] for word in reason.split("|"))
        await until(lambda: house.sessions[1].closed)
        before = house.sessions[0].steps
        await until(lambda: house.sessions[0].steps > before + 2)
        assert honest.closed is None and len(house.book.entries) == 1
        honest.go()
        await honest.task  # type: ignore[attr-defined]

    run(story)


async def _refuse(message: Message) -> list[Any]:
    raise BadMessageError("hello was said already")


@pytest.mark.parametrize("first", ["pause", None])
def test_whoever_does_not_begin_with_hello_gets_no_session(first: str | None) -> None:
    async def story() -> None:
        house = House(hello=0.05)
        socket = house.connect(hello=False)
        if first:
            socket.say(first, on=True)
        await socket.task  # type: ignore[attr-defined]
        assert socket.closed is not None and socket.closed[0] == BAD
        assert "hello is the first message" in socket.closed[1] and not house.sessions

    run(story)


def test_a_page_comes_back_to_its_session_which_waited() -> None:
    async def story() -> None:
        house = House(linger=100)
        socket = house.connect()
        await until(lambda: house.sessions and house.sessions[0].steps > 3)
        socket.go()
        await socket.task  # type: ignore[attr-defined]
        steps = house.sessions[0].steps
        await asyncio.sleep(0.1)
        assert house.sessions[0].steps == steps  # nobody looks, nothing moves
        again = house.connect(socket.heard[0]["session"])
        await until(lambda: again.heard)
        assert again.heard[0] == {**socket.heard[0], "steps": steps} and len(house.sessions) == 1
        stranger = house.connect("guessed")
        await until(lambda: stranger.heard)
        assert len(house.sessions) == 2
        for each in (again, stranger):
            each.go()
            await each.task  # type: ignore[attr-defined]
        (entry, _) = house.book.entries.values()
        house.now = 101.0
        assert "come back" in house.book.outstayed(entry)

    run(story)


def test_a_session_goes_on_in_one_window_at_a_time() -> None:
    async def story() -> None:
        house = House()
        first = house.connect()
        await until(lambda: first.heard)
        second = house.connect(first.heard[0]["session"])
        await first.task  # type: ignore[attr-defined]
        assert first.closed == (TAKEN, "this session goes on in another window")
        await until(lambda: b"picture" in second.heard)
        assert len(house.sessions) == 1
        second.go()
        await second.task  # type: ignore[attr-defined]

    run(story)


def test_sessions_are_bounded_and_those_who_left_make_room() -> None:
    async def story() -> None:
        house = House(sessions=2)
        first, second = house.connect(), house.connect()
        await until(lambda: first.heard and second.heard)
        third = house.connect()
        await third.task  # type: ignore[attr-defined]
        assert third.closed is not None and third.closed[0] == FULL
        first.go()
        await first.task  # type: ignore[attr-defined]
        fourth = house.connect()
        await until(lambda: b"picture" in fourth.heard)
        await until(lambda: house.sessions[0].closed)
        assert len(house.book.entries) == 2
        for each in (second, fourth):
            each.go()
            await each.task  # type: ignore[attr-defined]

    run(story)


def test_sessions_end_when_their_time_is_up() -> None:
    async def story() -> None:
        house = House(idle=50, life=100)
        socket = house.connect()
        await until(lambda: b"picture" in socket.heard)
        (entry,) = house.book.entries.values()
        house.now = 49.0
        socket.say("pause", on=False)
        await until(lambda: house.sessions[0].heard)
        house.now = 98.0
        assert house.book.outstayed(entry) == ""
        house.now = 100.0
        assert "nothing was heard" in house.book.outstayed(entry)
        entry.heard, house.now = 90.0, 101.0
        assert "hours at most" in house.book.outstayed(entry)
        await house.book.end(entry, "the time is up")
        assert not house.sessions[0].closed  # not in the middle of a step
        await socket.task  # type: ignore[attr-defined]
        assert socket.closed == (ENDED, "the time is up") and house.sessions[0].closed

    run(story)


def test_a_page_that_takes_no_pictures_is_not_waited_for() -> None:
    async def story() -> None:
        house = House(send=0.05)
        socket = house.connect()
        socket.takes = False
        await socket.task  # type: ignore[attr-defined]
        assert socket.closed is not None and socket.closed[0] == SLOW

    run(story)
