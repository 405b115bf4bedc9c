"""`DreamVecEnv`: a batch of dreams as Stable-Baselines3's own `VecEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.environment_ids import find_spec, is_dream
from dreamenv.errors import ConfigError, MissingDependencyError
from dreamenv.quiet import silence_gym_notice

silence_gym_notice()
try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise MissingDependencyError(
        'Stable-Baselines3 is not installed; run: pip install "dreamenv[agents]"'
    ) from error


class DreamVecEnv(VecEnv):
    """Adapter of `DreamVectorEnv`, whose arguments it takes; NumPy in, NumPy out.

    Args:
        num_envs: number of slots.
        seed: of the first `reset`; as everywhere in Stable-Baselines3, slot i gets seed + i.
        kwargs: for `DreamVectorEnv`.
    """

    def __init__(self, num_envs: int, seed: int | None = None, **kwargs: Any) -> None:
        self.dreams = DreamVectorEnv(num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
        self.render_mode = self.dreams.render_mode
        super().__init__(
            num_envs, self.dreams.single_observation_space, self.dreams.single_action_space
        )
        self._actions: NDArray = np.empty(0)
        if seed is not None:
            self.seed(seed)

    def reset(self) -> NDArray[np.uint8]:
        """Begin an episode in every slot, with the seeds given to `seed()` if any."""
        observations, info = self.dreams.reset(seed=self._seeds)
        self.reset_infos = [{"spawn": int(spawn)} for spawn in info["spawn"]]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step; a slot that ended has begun anew, its last frame is `terminal_observation`."""
        observations, rewards, terminated, truncated, info = self.dreams.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = terminated | truncated
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            self.reset_infos[i] = {"spawn": int(info["spawn"][i])}
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the dreams."""
        self.dreams.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the shared environment, once for each slot asked about."""
        return [getattr(self.dreams, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute, which all slots share, so `indices` must name them all."""
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ConfigError("slots share their attributes; set one for all of them")
        setattr(self.dreams, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list:
        """Call a method of the shared environment once; its result stands for every slot."""
        result = getattr(self.dreams, method_name)(*args, **kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Slots have no wrappers of their own."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray | None]:
        """The present frames, for `render` and video recorders."""
        return list(self.dreams.render() or [None] * self.num_envs)


def make_dream_vec_env(
    env_id: str, num_envs: int, seed: int | None = None, **kwargs: Any
) -> DreamVecEnv:
    """A `DreamVecEnv` of any registered dream id, with the id's own arguments.

    Raises:
        ConfigError: the id is registered but is no dream.
    """
    spec = find_spec(env_id)
    if not is_dream(spec):
        raise ConfigError(f"{env_id} is not a dreamt environment")
    return DreamVecEnv(num_envs, seed, **{**spec.kwargs, **kwargs})
