"""Memory that steps write into and leave to the next one, so that none is asked of the system."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_IDLE = 4
"""Workspaces that are kept while nobody uses them; the one that lay idle longest goes first."""


class Workspaces(Generic[T]):
    """Workspaces for different numbers of slots, each lent to one user at a time.

    Environments share a model, and threads step them at once: what a step writes into must be its
    own until it is done.

    Args:
        make: a workspace for so many slots.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        self._idle: deque[tuple[int, T]] = deque(maxlen=MOST_IDLE)

    @contextmanager
    def lent(self, slots: int) -> Iterator[T]:
        """A workspace for the time of a `with` block; what it holds is left over from others."""
        workspace = self._take(slots)
        yield workspace
        self._idle.append((slots, workspace))  # not after an error, which nobody counts on

    def _take(self, slots: int) -> T:
        for _ in range(MOST_IDLE):  # a deque is popped and appended to by one thread at a time
            try:
                size, workspace = self._idle.pop()
            except IndexError:
                break
            if size == slots:
                return workspace
            self._idle.appendleft((size, workspace))
        return self._make(slots)
