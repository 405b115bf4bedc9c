"""`Book`: the sessions of a server by their secret names; those that nobody wants are ended."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dreamenv.play.limits import Limits

if TYPE_CHECKING:
    from dreamenv.play.session import Session

SWEEP = 2.0
"""Seconds between two looks at who is still there."""


@dataclass
class Entry:
    """A session and the connection that plays it."""

    token: str
    """By which a page comes back to it; nobody else knows it."""
    session: Session
    began: float
    heard: float
    """When its page last said something."""
    left: float | None = None
    """When its page went; None while it is there."""
    ended: str = ""
    """Why it was ended, or ""."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the connection that plays it."""
    owner: object = None
    """The connection that wants to play it; another that does gives way."""


class FullError(Exception):
    """There are as many sessions as may be."""


class Book:
    """All sessions of a server.

    Args:
        make: makes a new session.
        limits: how many, and for how long.
        clock: seconds.
    """

    def __init__(
        self,
        make: Callable[[], Session],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self.limits, self.clock = make, limits, clock
        self.entries: dict[str, Entry] = {}

    def enter(self, resume: str | None) -> Entry:
        """The session that a page comes back to, else a new one.

        Raises:
            FullError: there are as many as may be.
        """
        found = self.entries.get(resume or "")
        if found is not None and not found.ended:
            return found
        if len(self.entries) >= self.limits.sessions:
            # Whoever went away makes room for whoever is here.
            gone = [entry for entry in self.entries.values() if entry.left is not None]
            if not gone:
                raise FullError
            oldest = min(gone, key=lambda entry: entry.left or 0.0)
            oldest.ended = "its place was needed"
            del self.entries[oldest.token]
            asyncio.ensure_future(_close(oldest))
        now = self.clock()
        entry = Entry(secrets.token_urlsafe(18), self._make(), now, now)
        self.entries[entry.token] = entry
        return entry

    async def end(self, entry: Entry, reason: str, at_once: bool = False) -> None:
        """End a session; one that is being played ends between two of its steps.

        Args:
            entry: the session.
            reason: that its page is told.
            at_once: do not wait for its step.
        """
        entry.ended = entry.ended or reason
        if entry.lock.locked() and not at_once:
            return  # its connection sees why, and ends it
        if self.entries.pop(entry.token, None) is not None:
            await _close(entry)

    async def sweep(self) -> None:
        """End what is over, again and again, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            for entry in list(self.entries.values()):
                if reason := self.outstayed(entry):
                    await self.end(entry, reason)

    def outstayed(self, entry: Entry) -> str:
        """Why a session is to end now, or ""."""
        now, limits = self.clock(), self.limits
        if entry.left is not None and now - entry.left > limits.linger:
            return "its page has not come back"
        if now - entry.heard > limits.idle:
            return f"nothing was heard for {limits.idle / 60:.0f} minutes"
        if now - entry.began > limits.life:
            return f"a session lasts {limits.life / 3600:.1f} hours at most"
        return ""

    async def close(self) -> None:
        """End all."""
        for entry in list(self.entries.values()):
            await self.end(entry, "the server stops", at_once=True)


async def _close(entry: Entry) -> None:
    with contextlib.suppress(Exception):
        await entry.session.close()
