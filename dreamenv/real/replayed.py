"""`SpawnedEnv`: a real environment that begins its episodes where dreams begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.action_rows import action_of, row_type
from dreamenv.core.errors import EnvironmentUsageError, ResetNeededError

CONTEXT = 32
"""Frames of context where a source does not say at which step its spawn starts."""


class SpawnedEnv(gymnasium.Wrapper):
    """Brings an environment to a spawn's state by the seed and the actions that once led there.

    Exact for environments that are a function of seed and actions, as Memory Maze is. A time
    limit inside would count the steps that lead to the spawn: make the environment with
    `max_episode_steps=-1` and put `gymnasium.wrappers.TimeLimit` around this wrapper.

    To the environment's own `info` it adds `spawn`, int64, at every reset and step: the index of
    the one of `sources` that was drawn for the episode, −1 if none was.

    Args:
        env: the real environment.
        sources: where episodes begin if `reset` is told nothing else: one is drawn for each
            episode, by the first number of the seed's generator, as dreams draw their spawns. So
            with the `sources` of a dream's spawns the same seed begins at the same spawn. Without
            sources, episodes begin as those of `env`.
    """

    def __init__(self, env: gymnasium.Env, sources: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(env)
        self.sources = list(sources)
        self._generator = np.random.default_rng()
        self._spawn = np.int64(-1)
        self._source: Mapping[str, Any] | None = None
        self._context: tuple[np.ndarray, np.ndarray] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the environment, or of the draw where `sources` were given.
            options: `source`, a mapping: begin there. `seed` and `actions`, those of
                `Spawns.sources`; `start`, if given, is the step of the first frame of context.
                All other options are the environment's own.

        Returns:
            The spawn's last frame, and the info of the environment with `spawn`.

        Raises:
            EnvironmentUsageError: no such source, or the environment ended on the way there.
        """
        options = dict(options or {})
        source, drawn = options.pop("source", None), -1
        if source is None and self.sources:
            if seed is not None:
                self._generator = np.random.default_rng(seed)
            drawn = int(self._generator.integers(len(self.sources)))
            source = self.sources[drawn]
        if source is None:
            observation, info = self.env.reset(seed=seed, options=options or None)
            frames, actions = [np.array(observation)], self._stack([])
        else:
            observation, info, frames, actions = self._replay(source, options)
        self._spawn, self._source = np.int64(drawn), source
        self._context = np.stack(frames), actions
        return observation, {**info, "spawn": self._spawn}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step of the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, "spawn": self._spawn}

    def source(self) -> Mapping[str, Any] | None:
        """Where the present episode began, as dreams tell it; None where `env` itself began it."""
        return deepcopy(self._source)

    def episode_context(self) -> tuple[np.ndarray, np.ndarray]:
        """What a world model is to watch before the episode goes on.

        Returns:
            The frames (t, H, W, C) up to the first observation of the episode, that included, and
            the rows (`dreamenv.core.action_rows`) of the t − 1 actions between them.

        Raises:
            ResetNeededError: before `reset`.
        """
        if self._context is None:
            raise ResetNeededError("no episode has a context before reset()")
        frames, actions = self._context
        return frames.copy(), actions.copy()

    def _replay(
        self, source: Mapping[str, Any], options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any], list[np.ndarray], np.ndarray]:
        if not isinstance(source, Mapping) or not {"seed", "actions"} <= set(source):
            raise EnvironmentUsageError(
                "a source is a dict with 'seed' and 'actions', all of them since the reset, not "
                f"{list(source) if isinstance(source, Mapping) else source!r}; spawns stored by "
                "earlier versions lack the actions: write them anew with "
                "dreamenv.dream.spawn_drawing.save_spawns"
            )
        if source["seed"] is None:
            raise EnvironmentUsageError(
                "nobody knows the reset seed of the episode that this spawn was cut from, so the "
                "environment cannot be brought there; draw spawns from rollouts of dreamenv collect"
            )
        actions = self._stack(source["actions"])
        start = int(source.get("start", max(0, len(actions) + 1 - CONTEXT)))
        if not 0 <= start <= len(actions):
            raise EnvironmentUsageError(
                f"a spawn that starts at step {start} cannot end after {len(actions)} actions"
            )
        observation, info = self.env.reset(seed=int(source["seed"]), options=options or None)
        frames = [np.array(observation)] if start == 0 else []
        for step, row in enumerate(actions, 1):
            action = action_of(self.action_space, row)
            observation, _, terminated, truncated, info = self.env.step(action)
            if terminated and step == len(actions):
                raise EnvironmentUsageError(
                    f"the episode ends on the spawn's last frame, after {step} actions, so none "
                    "can begin there; spawns stored by this version never do: write them anew "
                    "with dreamenv.dream.spawn_drawing.save_spawns"
                )
            if terminated or truncated:
                raise EnvironmentUsageError(
                    f"the episode ended after {step} of the {len(actions)} actions to the spawn; "
                    "is the source of this environment? A time limit belongs around SpawnedEnv, "
                    "not inside: make the environment with max_episode_steps=-1"
                )
            if step >= start:
                frames.append(np.array(observation))  # a copy: it may be the same buffer each step
        return observation, info, frames, actions[start:]

    def _stack(self, actions: Sequence[Any]) -> np.ndarray:
        shape, dtype = row_type(self.action_space)
        return np.asarray(actions, dtype).reshape(-1, *shape)
