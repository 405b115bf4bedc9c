"""Start states: what the world model remembers at the end of each spawn, computed once and kept.

A *spawn* is the stored thing, a short stretch of real frames (`dreamenv.dream.spawns`). Its *start
state* is the model's memory after observing it, from which an episode goes on. Observing a spawn
of 32 frames costs more than dreaming a short episode from it, and is the same work each time.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from dreamenv.core.progress import waiting
from dreamenv.dream.spawns import Spawns
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State

ROOM = 2**30
"""Bytes of start states that are kept; beyond them the one goes that was unused for longest."""


class StartState(NamedTuple):
    """The model's memory after some contexts, one slot for each."""

    memory: State
    features: Tensor
    """Of the last frame, (contexts, feature_size) float32."""

    @property
    def nbytes(self) -> int:
        """Bytes held, of all contexts together."""
        return self.memory.nbytes + self.features.nbytes


def observe_contexts(model: WorldModel, contexts: Spawns, index: list[int]) -> StartState:
    """The start state of some contexts, which are observed from first to last frame in one batch.

    Args:
        model: the world model.
        contexts: real frames and the actions that led to them.
        index: which of them.
    """
    frames, actions = (
        torch.from_numpy(part[index]).to(model.device)
        for part in (contexts.frames, contexts.actions)
    )
    memory, outcome = model.observe(model.initial_state(len(index)), frames, actions)
    assert outcome.features is not None
    return StartState(memory, outcome.features[:, -1].to(torch.float32, copy=True))


class StartStates:
    """The start states of one model's spawns, by the spawn's index.

    Every spawn is observed by itself, so that its start state does not depend, not even by
    rounding, on the spawns that other slots began from.

    Args:
        model: the world model.
        spawns: where its dreams begin.
        room: bytes that may be kept; the last start state is kept whatever its size.
    """

    def __init__(self, model: WorldModel, spawns: Spawns, room: int = ROOM) -> None:
        self.spawns, self._model, self._room = spawns, model, room
        self._kept: OrderedDict[int, StartState] = OrderedDict()

    def __getitem__(self, spawn: int) -> StartState:
        """The start state of a spawn, which the caller must not write into.

        Several threads may ask at once; at worst two observe the same spawn.
        """
        found = self._kept.pop(spawn, None)
        if found is None:
            with waiting("observing where the dream begins"):
                memory, features = observe_contexts(self._model, self.spawns, [spawn])
            found = StartState(memory.packed(), features)
        self._kept[spawn] = found  # the latest
        size = found.nbytes  # every spawn has as many frames
        while len(self._kept) > max(1, self._room // size):
            with suppress(KeyError):
                self._kept.popitem(last=False)
        return found
