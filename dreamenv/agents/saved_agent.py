"""An agent that Stable-Baselines3 has trained, with its memory and its randomness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from dreamenv.agents.scripted import Observation
from dreamenv.core.errors import CheckpointError, EnvironmentUsageError

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO


class SavedAgent:
    """A Stable-Baselines3 model with its recurrent state and a random generator of its own."""

    def __init__(
        self, model: PPO | RecurrentPPO, path: Path, seed: int, deterministic: bool
    ) -> None:
        self.name = type(model).__name__
        self.observation = "memory" if isinstance(model.observation_space, spaces.Dict) else "frame"
        self._model = model
        self._path = path
        self._seed = seed
        self._deterministic = deterministic
        self.reset()

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Height and width of the frames it was trained on; None if it observes none."""
        shapes = _shapes(self._model.observation_space)
        shape = shapes.get("", shapes.get("frame", ()))
        if len(shape) != 3:
            return None
        last = shape if shape[-1] in (1, 3) else _channel_last(shape)
        return last[0], last[1]

    def reset(self, seed: int | None = None) -> None:
        import torch

        self._seed = self._seed if seed is None else seed
        self._memory: Any = None
        self._num_episodes = 0
        self._random_state = torch.Generator().manual_seed(self._seed).get_state()

    def act(self, observation: Observation, episode_start: np.ndarray) -> np.ndarray:
        self.check(observation)
        if isinstance(observation, dict):  # an agent may have learnt from the memory alone
            known = _shapes(self._model.observation_space)
            observation = {name: observation[name] for name in known}
        count = len(episode_start)
        if self._memory is not None and count != self._num_episodes:
            raise EnvironmentUsageError(
                f"the agent remembers {self._num_episodes} episodes but was given "
                f"{count} observations; call reset() before changing the number"
            )
        with self._own_randomness():
            actions, self._memory = self._model.predict(
                observation,
                state=self._memory,
                episode_start=np.asarray(episode_start, dtype=bool),
                deterministic=self._deterministic,
            )
        self._num_episodes = count
        return actions

    def check(self, given: spaces.Space | Observation) -> None:
        """Raise CheckpointError unless the agent was trained on observations of these shapes.

        Args:
            given: the space of one episode's observations, or a batch of them.
        """
        trained_on, shapes = _shapes(self._model.observation_space), _shapes(given)
        if shapes.keys() >= trained_on.keys() and all(
            # Stable-Baselines3 stores images channel-first and transposes what it is given.
            shapes[name] in (shape, _channel_last(shape))
            for name, shape in trained_on.items()
        ):
            return
        if "memory" in trained_on and "memory" not in shapes:
            way_out = (
                "make the dream with observation='memory', and put dreamenv.dream.memory."
                "WithMemory around a real environment"
            )
        elif "memory" in shapes and "memory" not in trained_on:
            way_out = "leave out observation='memory' and WithMemory"
        elif shapes.get("memory") != trained_on.get("memory"):
            way_out = "take the memory of the world model that it was trained with"
        else:
            way_out = "choose an agent trained in an environment with this observation"
        raise CheckpointError(
            f"the agent {self._path} was trained on observations of {_describe(trained_on)}, but "
            f"is given {_describe(shapes)}; {way_out}"
        )

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Sample from this agent's generator, whatever else in the process draws numbers."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            yield
            self._random_state = torch.get_rng_state()


def _shapes(given: spaces.Space | Observation) -> dict[str, tuple[int, ...]]:
    """Shape of each part of one observation; the part of a plain array has no name."""
    if isinstance(given, spaces.Dict):
        return {name: space.shape or () for name, space in given.items()}
    if isinstance(given, spaces.Space):
        return {"": given.shape or ()}
    parts = given if isinstance(given, dict) else {"": given}
    return {name: np.shape(values)[1:] for name, values in parts.items()}


def _describe(shapes: dict[str, tuple[int, ...]]) -> str:
    named = [f"{name} {shape}".strip() for name, shape in shapes.items()]
    return f"shape {named[0]}" if "" in shapes else f"the shapes {', '.join(named)}"


def _channel_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
