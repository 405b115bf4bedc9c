"""`Restorable`: the state of a batch of dreams is taken, set, multiplied and pickled."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from dreamenv.core.errors import ResetNeededError
from dreamenv.dream.slots import Slots
from dreamenv.dream.state import DreamState

if TYPE_CHECKING:
    from dreamenv.dream.vector_env import DreamVectorEnv

LEFT_BEHIND = ("loaded", "spawns", "_slots", "_window", "_seeds")
"""Attributes that a copy reads from the checkpoint again, or makes anew."""


class Restorable(VectorEnv):
    """A batch of dreams whose whole state is a value (`DreamState`)."""

    _slots: Slots
    _begun: bool
    """Whether there is an episode in every slot."""

    def _load(self) -> None:
        """Read from the checkpoint what is not copied with an environment."""
        raise NotImplementedError

    def _remade(self, num_envs: int, **changes: Any) -> DreamVectorEnv:
        """Another environment, made as this one is but for its number of slots and `changes`."""
        raise NotImplementedError

    def source(self) -> tuple[dict[str, Any] | None, ...]:
        """The real rollout that the present episode of each slot began in.

        Returns:
            For each slot a copy of its spawn's entry in `dreamenv.dream.spawns.Spawns.sources`,
            by which the real environment is brought to the same place
            (`dreamenv.real.replayed.SpawnedEnv`); None where a context of the caller's began it.

        Raises:
            ResetNeededError: before `reset`.
        """
        if not self._begun:
            raise ResetNeededError("no episode has a source before reset()")
        return tuple(deepcopy(source) for source in self._slots.source)

    def get_state(self, slots: Sequence[int] | None = None) -> DreamState:
        """Everything that the future of these dreams depends on.

        Args:
            slots: those to take; nothing else is copied. By default all.

        Raises:
            ResetNeededError: before `reset`.
            IndexError: there is no such slot.
        """
        if not self._begun:
            raise ResetNeededError("there is no state before reset()")
        return self._slots.capture(range(self.num_envs) if slots is None else slots)

    def set_state(self, state: DreamState) -> None:
        """Go on from a state, as the environment went on that it was taken from.

        Its observations are in the state: `state.frames`, `state.features`.

        Raises:
            EnvironmentUsageError: it is of other weights, of another number of slots, or no state
                that a dream can be in; nothing has changed then.
        """
        self._slots.restore(state)
        self._begun = True

    def fork(self, n: int, seed: int | None = None, **changes: Any) -> DreamVectorEnv:
        """A `DreamVectorEnv` of num_envs · n slots, in which each dream goes on in n ways.

        Args:
            n: forks of each slot; those of slot i are slots i · n … i · n + n − 1.
            seed: fork j draws its noise as seeded with seed + j. Without a seed forks carry the
                generator of their slot, so that the same actions lead to the same future.
            changes: arguments in which the forks' environment differs from this one.

        Raises:
            ResetNeededError: before `reset`.
            EnvironmentUsageError: n is less than 1.
            ConfigError: as when an environment is made.
        """
        state = self.get_state().repeat(n)
        forks = self._remade(len(state), **changes)
        forks.set_state(state if seed is None else state.reseed(seed))
        return forks

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copy take along: the dreams, without weights and spawns."""
        kept = {name: value for name, value in vars(self).items() if name not in LEFT_BEHIND}
        return kept | {"_saved": self.get_state() if self._begun else None}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Load the same checkpoint again and go on with the dreams as they were."""
        saved = kept.pop("_saved")
        vars(self).update(kept, _seeds={})
        self._load()
        if saved is not None:
            self.set_state(saved)
