"""Observations of an agent that is given the world model's memory beside the frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from dreamenv.core.errors import ConfigError


def has_memory(space: spaces.Space) -> bool:
    """Whether observations are a dictionary with memory in it."""
    return isinstance(space, spaces.Dict) and "memory" in space.spaces


def seen_frame(observation: Any) -> Any:
    """The frame of an observation, or of a space of them; what has no `frame` is one itself."""
    if isinstance(observation, dict | spaces.Dict) and "frame" in observation.keys():
        return observation["frame"]
    return observation


class OnlyMemory(VecEnvWrapper):
    """Leaves out of every observation all but the world model's memory.

    The memory tells what the frame shows as well, and a policy without convolutions learns from it
    in a fraction of the time.

    Raises:
        ConfigError: the observations hold no memory.
    """

    def __init__(self, venv: VecEnv) -> None:
        space = venv.observation_space
        if not isinstance(space, spaces.Dict) or not has_memory(space):
            raise ConfigError(
                f"only_memory needs observations with memory, not {space}: give a dream "
                "observation=memory among its arguments, a real environment memory_from"
            )
        super().__init__(venv, spaces.Dict({"memory": space["memory"]}))

    def reset(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """Begin everywhere."""
        return _only_memory(self.venv.reset())

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Finish the step; terminal observations are cut down too."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            infos[i]["terminal_observation"] = _only_memory(infos[i]["terminal_observation"])
        return _only_memory(observations), rewards, dones, infos


def _only_memory(observation: Any) -> dict[str, np.ndarray]:
    return {"memory": observation["memory"]}
