"""`Timeline`: what was seen at every step of an episode, and the states from which it goes on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from dreamenv.dream.state import DreamState

KEPT_EVERY = 16
"""Steps between two states that are kept; those between are dreamt again from the one before."""
MOST_APART = 1024
"""Steps between two states at the most."""


@dataclass(frozen=True)
class Seen:
    """One world at one step."""

    picture: bytes
    """PNG or JPEG."""
    told: dict[str, Any]
    """What a page shows beside it, as plain data."""


@dataclass(frozen=True)
class Row:
    """One step; the first row of a timeline is the beginning, to which no action led."""

    action: Any = None
    who: str = ""
    """Who chose it."""
    dream: Seen | None = None
    real: Seen | None = None


@dataclass
class Timeline:
    """The rows of an episode, and dream states at some of them.

    Args:
        most_bytes: of the states; where they are more, every other one is forgotten, never the
            first.
    """

    most_bytes: int
    rows: list[Row] = field(default_factory=list)
    states: dict[int, DreamState] = field(default_factory=dict)
    every: int = KEPT_EVERY
    name: str = "1"
    pinned: frozenset[int] = frozenset()
    """Steps whose state cannot be dreamt again from one before."""

    @property
    def last(self) -> int:
        """The last step."""
        return len(self.rows) - 1

    @property
    def actions(self) -> list[Any]:
        """All actions, from the first step on."""
        return [row.action for row in self.rows[1:]]

    def wants_state(self, step: int) -> bool:
        """Whether the state at a step is to be kept."""
        return step % self.every == 0 and step not in self.states

    def keep_state(self, step: int, state: DreamState, pin: bool = False) -> None:
        """Keep the state at a step, and forget some if they are too many.

        Args:
            step: of the timeline.
            state: at that step.
            pin: no other leads to it: here the dream has got other chances.
        """
        self.states[step] = state
        if pin:
            self.pinned |= {step}
        size = state.memory.nbytes
        while len(self.states) * size > self.most_bytes and self.every < MOST_APART:
            self.every *= 2
            stay = {min(self.states), *self.pinned}
            self.states = {
                s: each for s, each in self.states.items() if s % self.every == 0 or s in stay
            }

    def state_before(self, step: int) -> tuple[int, DreamState]:
        """The last state that is kept at a step or before it, and its step."""
        found = max(s for s in self.states if s <= step)
        return found, self.states[found]

    def cut_after(self, step: int) -> None:
        """Forget what came after a step."""
        del self.rows[step + 1 :]
        self.pinned = frozenset(s for s in self.pinned if s <= step)
        self.states = {s: state for s, state in self.states.items() if s <= step}

    def fork(self, step: int, name: str) -> Timeline:
        """Another timeline that has been the same up to a step. What both share is held once."""
        states = {s: state for s, state in self.states.items() if s <= step}
        pinned = frozenset(s for s in self.pinned if s <= step)
        return Timeline(self.most_bytes, self.rows[: step + 1], states, self.every, name, pinned)

    def see_real(self, step: int, seen: Seen) -> None:
        """Note what the real environment showed at a step."""
        self.rows[step] = dataclasses.replace(self.rows[step], real=seen)
