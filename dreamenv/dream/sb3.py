"""Dreams, and real environments with the dream's memory, as Stable-Baselines3's own `VecEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.deprecation import current_names
from dreamenv.core.environment_ids import find_spec, is_dream
from dreamenv.core.errors import ConfigError, MissingDependencyError
from dreamenv.core.quiet import without_gym_notice
from dreamenv.dream.arguments import RENAMED
from dreamenv.dream.episode_memory import EPISODE_CONTEXT, EpisodeMemory, context_of_one
from dreamenv.dream.observations import INFOS
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.vector_env import DreamVectorEnv

try:
    with without_gym_notice():
        from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor
except ImportError as error:
    raise MissingDependencyError(
        'Stable-Baselines3 is not installed; run: pip install "dreamenv[agents]"'
    ) from error


Observations = NDArray | dict[str, NDArray]


class DreamVecEnv(VecEnv):
    """Adapter of `DreamVectorEnv`, whose arguments it takes; NumPy in, NumPy out.

    Observations are handed on as they come, without another copy. `infos` and `reset_infos` hold
    the keys of `DreamEnv`; `infos` also those that Stable-Baselines3 wants.

    Args:
        num_envs: number of slots.
        seed: of the first `reset`; as everywhere in Stable-Baselines3, slot i gets seed + i.
        kwargs: for `DreamVectorEnv`.

    Attributes:
        dreams: the `DreamVectorEnv`.

    Raises:
        ConfigError: as `DreamVectorEnv`; or Stable-Baselines3 has no agents for such actions.
    """

    def __init__(self, num_envs: int, seed: int | None = None, **kwargs: Any) -> None:
        self.dreams = DreamVectorEnv(num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **kwargs)
        actions = self.dreams.single_action_space
        if not _is_for_agents(actions):
            raise ConfigError(
                "agents of Stable-Baselines3 count discrete actions from 0, choose floats in "
                f"boxes and know no nested ones, so they would act outside {actions}; collect from "
                "the environment with a gymnasium.wrappers.TransformAction that offers such "
                "actions, or step DreamVectorEnv yourself"
            )
        super().__init__(num_envs, self.dreams.single_observation_space, actions)
        self.metadata["render_fps"] = self.dreams.metadata["render_fps"]  # for VecVideoRecorder
        self._actions: NDArray = np.empty(0)
        if seed is not None:
            self.seed(seed)

    def reset(self) -> Observations:
        """Begin an episode in every slot, with the seeds and options given before, if any.

        Raises:
            ConfigError: `set_options` gave the slots different kinds of options.
            EnvironmentUsageError: an option does not fit (`DreamVectorEnv.reset`).
        """
        observations, info = self.dreams.reset(seed=self._seeds, options=self._joint_options())
        self._tell_of_resets(np.arange(self.num_envs), info)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step; a slot that ended has begun anew, its last frame is `terminal_observation`."""
        observations, rewards, terminated, truncated, info = self.dreams.step(self._actions)
        infos, cut_off = _rows(info), (truncated & ~terminated).tolist()
        done = terminated | truncated
        if done.any():
            ended = np.flatnonzero(done)
            self._tell_of_resets(ended, info)
            last = _rows(info["final_info"])
            for i in ended:
                infos[i] = last[i]
                infos[i]["terminal_observation"] = info["final_obs"][i]
        for told, cut in zip(infos, cut_off, strict=True):
            told["TimeLimit.truncated"] = cut
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the dreams."""
        self.dreams.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the shared environment, once for each slot asked about.

        Spaces are those of a single slot.
        """
        values = self.dreams.get_attr(attr_name)
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute, which all slots share.

        Raises:
            ConfigError: `indices` leave out a slot, or the attribute is fixed.
        """
        self._require_all(indices, f"the attribute {attr_name!r}")
        self.dreams.set_attr(attr_name, [value] * self.num_envs)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list:
        """Call a method of the shared environment once; its result stands for every slot.

        `render` and `source` give each slot asked about its own.

        Raises:
            ConfigError: `indices` leave out a slot, but the method acts on all of them.
        """
        if method_name in ("render", "source"):
            each = getattr(self.dreams, method_name)(*args, **kwargs)
            return [each and each[i] for i in self._get_indices(indices)]
        self._require_all(indices, f"the method {method_name!r}")
        result = getattr(self.dreams, method_name)(*args, **kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Slots have no wrappers of their own."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray | None]:
        """The present frames, for `render` and video recorders."""
        return self.env_method("render")

    def _tell_of_resets(self, slots: NDArray, info: dict[str, Any]) -> None:
        rows = _rows(info)
        for i in slots:
            self.reset_infos[i] = rows[i]

    def _joint_options(self) -> dict[str, Any] | None:
        """The slots' options as `DreamVectorEnv` takes them: one array of each kind."""
        names = {name for options in self._options for name in options}
        try:
            return {name: np.stack([slot[name] for slot in self._options]) for name in names}
        except (KeyError, ValueError) as error:
            raise ConfigError(
                "set_options must give every slot the same options, of equal shape (contexts as "
                f"long as each other); it was given {[sorted(slot) for slot in self._options]}"
            ) from error

    def _require_all(self, indices: Any, what: str) -> None:
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ConfigError(
                f"{what} is shared by all {self.num_envs} slots; leave out `indices`, or make "
                "another DreamVecEnv: the weights are loaded once"
            )


def _is_for_agents(actions: Space) -> bool:
    """Whether agents of Stable-Baselines3 choose such actions."""
    if isinstance(actions, Box):
        return actions.dtype.kind == "f"
    if isinstance(actions, MultiDiscrete):
        return actions.nvec.ndim == 1 and not actions.start.any()
    if isinstance(actions, MultiBinary):
        return isinstance(actions.n, int)
    return isinstance(actions, Discrete) and not actions.start


def _rows(info: dict[str, Any]) -> list[dict[str, Any]]:
    """What `info` of all slots tells, slot by slot, as NumPy scalars."""
    names = [name for name in INFOS if name in info]
    return [dict(zip(names, row, strict=True)) for row in zip(*map(info.get, names), strict=True)]


def make_dream_vec_env(
    env_id: str, num_envs: int, seed: int | None = None, **kwargs: Any
) -> VecMonitor:
    """A `DreamVecEnv` of any registered dream id, with the id's own arguments.

    As with Stable-Baselines3's own `make_vec_env`, a monitor around it reports every episode's
    return and length, without which training would not show `ep_rew_mean`.

    Raises:
        ConfigError: the id is registered but is no dream.
    """
    spec = find_spec(env_id)
    if not is_dream(spec):
        raise ConfigError(f"{env_id} is not a dreamt environment")
    registered, given = (current_names(found, **RENAMED) for found in (spec.kwargs, kwargs))
    return VecMonitor(DreamVecEnv(num_envs, seed, **{**registered, **given}))


class VecWithMemory(VecEnvWrapper):
    """`dreamenv.dream.memory.WithMemory` for many real environments, watched in one batch.

    An agent trained on dreams with `observation="memory"` acts, and goes on learning, in it.
    Terminal observations hold memory as well.

    Args:
        venv: real environments that show the pictures that the model's rollouts were made of.
            Where they have a method `episode_context`, memory begins with what that returns.
        checkpoint: checkpoint folder of the world model, or `"bundled:NAME"`.
        device: torch device, or `"auto"`.
        dtype: of the model, as for `DreamVectorEnv`.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: the model was trained on another kind of environment.
    """

    def __init__(
        self,
        venv: VecEnv,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self._memory = EpisodeMemory(venv.num_envs, checkpoint, device, dtype)
        self._memory.require_same_spaces(venv.observation_space, venv.action_space)
        super().__init__(venv, self._memory.observation_space)
        self._has_context = venv.has_attr(EPISODE_CONTEXT)
        self._actions: NDArray = np.empty(0)

    def reset(self) -> dict[str, NDArray]:
        """Begin an episode, and its memory anew, in every environment."""
        frames = self._memory.frames_of(self.venv.reset())
        self._begin(np.arange(self.num_envs), frames)
        return self._memory.show()

    def step_async(self, actions: NDArray) -> None:
        """Take the actions of the next `step_wait`."""
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(
        self,
    ) -> tuple[dict[str, NDArray], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step; the world model watches all frames, the last ones of episodes that ended too."""
        observations, rewards, dones, infos = self.venv.step_wait()
        frames = self._memory.frames_of(observations)
        last, infos = np.array(frames), list(infos)
        ended = np.flatnonzero(dones)
        for i in ended:
            last[i] = self._memory.frames_of(infos[i]["terminal_observation"])
        self._memory.watch(last, self._actions)
        shown = self._memory.show()
        if len(ended):
            for i in ended:
                final = {name: values[i] for name, values in shown.items()}
                infos[i] = {**infos[i], "terminal_observation": final}
            self._begin(ended, np.asarray(frames))
            shown = self._memory.show()
        return shown, rewards, dones, infos

    def get_memory(self) -> dict[str, Tensor]:
        """What is remembered of the episodes under way."""
        return self._memory.get_tensors()

    def set_memory(self, tensors: Mapping[str, Tensor]) -> bool:
        """Go on from `get_memory`; returns whether it is of the same world model."""
        return self._memory.set_tensors(tensors)

    def _begin(self, slots: NDArray, frames: NDArray) -> None:
        self.reset_infos = list(self.venv.unwrapped.reset_infos)  # wrappers do not pass them on
        if self._has_context:
            given = self.venv.env_method(EPISODE_CONTEXT, indices=slots.tolist())
            contexts = [self._memory.context_of(each) for each in given]
        else:
            contexts = [context_of_one(frames[i], self.action_space) for i in slots]
        self._memory.begin(slots.tolist(), contexts)
