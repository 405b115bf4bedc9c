"""`Limits`: how much one visitor may ask of a server; `Meter`: how often."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a server allows."""

    sessions: int = 32
    """Sessions at a time."""
    real: int = 4
    """Real environments at a time, each a process."""
    life: float = 4 * 3600
    """Seconds that a session lasts."""
    idle: float = 900
    """Seconds without a message after which a session ends."""
    linger: float = 120
    """Seconds that a session waits for its page to come back."""
    hello: float = 10
    """Seconds that a new connection has to say what it wants."""
    send: float = 20
    """Seconds that a page may take to accept a picture."""
    rate: float = 120
    """Messages per second, in the long run; twice as many at once."""
    waiting: int = 256
    """Messages that may wait for their session."""
    state_bytes: int = 2**26
    """Of the states that a session keeps to go back to."""
    branches: int = 8
    """Forks that a session keeps."""


class Meter:
    """A bucket that fills with `rate` messages a second, up to two seconds' worth."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._left, self._then = 2 * rate, clock()

    def take(self) -> bool:
        """Take one; False if the bucket is empty."""
        now = self._clock()
        self._left = min(2 * self._rate, self._left + self._rate * (now - self._then))
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
