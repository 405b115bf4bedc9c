"""What the world model remembers of each spawn, watched once and kept.

Watching a spawn of 32 frames costs more than dreaming a short episode from it, and is the same
work each time.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from dreamenv.dream.spawns import Spawns
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State

ROOM = 2**30
"""Bytes of memories that are kept; beyond them the one that was not asked for longest goes."""


class Watched(NamedTuple):
    """A context taken into an empty memory; one slot for each context."""

    memory: State
    features: Tensor
    """Of the last frame, (contexts, feature_size) float32."""

    @property
    def nbytes(self) -> int:
        """Bytes held, of all contexts together."""
        return self.memory.nbytes + self.features.nbytes


def watch(model: WorldModel, contexts: Spawns, index: list[int]) -> Watched:
    """Watch some contexts from their first frame to their last, in one batch."""
    frames, actions = (
        torch.from_numpy(part[index]).to(model.device)
        for part in (contexts.frames, contexts.actions)
    )
    memory, outcome = model.observe(model.initial_state(len(index)), frames, actions)
    assert outcome.features is not None
    return Watched(memory, outcome.features[:, -1].to(torch.float32, copy=True))


class WatchedSpawns:
    """The memories of one model's spawns.

    Every spawn is watched by itself, so that its memory does not depend, not even by rounding, on
    the spawns that other slots began from.

    Args:
        model: the world model. spawns: where its dreams begin.
        room: bytes that may be kept; the last memory is kept whatever its size.
    """

    def __init__(self, model: WorldModel, spawns: Spawns, room: int = ROOM) -> None:
        self.spawns, self._model, self._room = spawns, model, room
        self._kept: OrderedDict[int, Watched] = OrderedDict()

    def __getitem__(self, spawn: int) -> Watched:
        """The memory of a spawn, which the caller must not write into.

        Several threads may ask at once; at worst two watch the same spawn.
        """
        watched = self._kept.pop(spawn, None)
        if watched is None:
            memory, features = watch(self._model, self.spawns, [spawn])
            watched = Watched(memory.packed(), features)
        self._kept[spawn] = watched  # the latest
        size = watched.nbytes  # every spawn has as many frames
        while len(self._kept) > max(1, self._room // size):
            with suppress(KeyError):
                self._kept.popitem(last=False)
        return watched
