"""`DreamVectorEnv`: N dreams stepped in one batch; the only place with episode logic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dreamenv.dream.weights import load_dreamer
from dreamenv.errors import ConfigError, EnvironmentUsageError
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.preprocessing import to_uint8

RESET_BATCH = 64
"""Slots whose context is watched at once; bounds the memory of resetting many slots."""


def action_space(config: ActionConfig) -> Space:
    """The Gymnasium space of a model's actions."""
    if config.discrete:
        return Discrete(config.n)
    low, high = np.array(config.low, np.float32), np.array(config.high, np.float32)
    return Box(low, high, dtype=np.float32)


class DreamVectorEnv(VectorEnv):
    """A batch of dreamt environments.

    An episode begins from a *spawn*: the model watches a short stretch of real frames, the last
    of which is the first observation. Every later observation is imagined. An episode ends when
    the model believes that it terminated, or is truncated after `horizon` steps.

    Every slot draws its spawns and noise from a generator of its own, so a slot's dream depends
    on its seed and actions alone, not on the batch around it.

    Args:
        num_envs: number of slots.
        checkpoint: checkpoint folder, or `"bundled:NAME"`.
        horizon: steps after which an episode is truncated.
        steps: denoising passes per frame; by default what the checkpoint says.
        autoreset_mode: when a slot that ended starts anew, as defined by Gymnasium.
        device: torch device, or `"auto"`.
        dtype: `"float32"`, `"bfloat16"`, or `"auto"`: the faster of the two on this machine.
        render_mode: `None` or `"rgb_array"`.
        max_episode_steps: overrides `horizon`; `gymnasium.make_vec` passes it.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or has no spawns.
        ConfigError: an argument is out of range.
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | Path = "bundled:memory_maze_9x9",
        horizon: int = 256,
        steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        device: str = "auto",
        dtype: str = "auto",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
    ) -> None:
        self.horizon = horizon if max_episode_steps is None else max_episode_steps
        if num_envs < 1 or self.horizon < 1 or (steps is not None and steps < 1):
            raise ConfigError(
                f"num_envs, horizon and steps must be at least 1, got {num_envs}, "
                f"{self.horizon}, {steps}"
            )
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', not {render_mode!r}")
        self.num_envs, self.steps, self.render_mode = num_envs, steps, render_mode
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise ConfigError(f"autoreset_mode is one of {known}: {error}") from error
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.dreamer = load_dreamer(checkpoint, device, dtype)
        config = self.dreamer.model.config
        shape = (*config.frame_size, config.frame_channels)
        self.single_observation_space = Box(0, 255, shape, np.uint8)
        self.single_action_space = action_space(config.actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators: list[np.random.Generator | None] = [None] * num_envs
        self._state = self.dreamer.model.initial_state(num_envs)
        self._observations = np.zeros((num_envs, *shape), np.uint8)
        self._spawns = np.zeros(num_envs, np.int64)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, np.bool_)
        self._begun = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode in every slot, or in those of `options["reset_mask"]`.

        Args:
            seed: slot i is seeded with seed + i, or with seed[i]; None goes on with its stream.
            options: `reset_mask` (num_envs,) bool.

        Returns:
            Observations (num_envs, H, W, C) uint8, and `info["spawn"]`, the spawn of each slot.
        """
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, np.bool_)))
        if options:
            raise EnvironmentUsageError(
                f"unknown reset options {sorted(options)}; there is 'reset_mask'"
            )
        if mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
            raise EnvironmentUsageError(
                f"reset_mask must be {self.num_envs} booleans with one True, got {mask!r}"
            )
        if not self._begun and not mask.all():
            raise EnvironmentUsageError("the first reset must reset every slot")
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise EnvironmentUsageError(f"{self.num_envs} slots need as many seeds, got {seed}")
        for i in np.flatnonzero(mask).tolist():
            if seed[i] is not None or self.generators[i] is None:
                self.generators[i] = np.random.default_rng(seed[i])
        self._begin(mask)
        self._begun = True
        return self._observations.copy(), {"spawn": self._spawns.copy(), "_spawn": mask}

    def step(
        self, actions: Any
    ) -> tuple[
        NDArray[np.uint8],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Dream one step in every slot.

        Args:
            actions: (num_envs,) integers, or (num_envs, dims) floats.

        Returns:
            Observations (num_envs, H, W, C) uint8, rewards, terminated, truncated (num_envs,),
            and info. With same-step autoreset a slot that ended shows its next episode's first
            observation, and `info["final_obs"]` holds the last one of the episode that ended.

        Raises:
            EnvironmentUsageError: before `reset`, or with actions outside the space.
        """
        actions = self._check_actions(actions)
        restart = self._ended.copy() if self.autoreset_mode == AutoresetMode.NEXT_STEP else None
        if self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any():
            raise EnvironmentUsageError(
                f"the episode of slots {np.flatnonzero(self._ended).tolist()} has ended; call "
                "reset(), for some of several slots with options={'reset_mask': mask}"
            )
        rewards, continues = self._imagine(actions, restart)
        self._elapsed += 1
        terminated = ~continues
        truncated = (self._elapsed >= self.horizon) & continues
        info: dict[str, Any] = {}
        if restart is not None and restart.any():
            self._begin(restart)
            rewards[restart], terminated[restart], truncated[restart] = 0.0, False, False
            info |= {"spawn": self._spawns.copy(), "_spawn": restart}
        ended = terminated | truncated
        self._ended = ended.copy()  # _begin clears it while the infos still need `ended`
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final[i] = self._observations[i].copy()
            last = {"spawn": self._spawns.copy(), "_spawn": ended.copy()}
            info |= {"final_obs": final, "_final_obs": ended.copy()}
            info |= {"final_info": last, "_final_info": ended.copy()}
            self._begin(ended)
            info |= {"spawn": self._spawns.copy(), "_spawn": ended.copy()}
        return self._observations.copy(), rewards, terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The present observation of every slot, (H, W, C) uint8 each."""
        if self.render_mode is None:
            return None
        return tuple(self._observations.copy())

    @property
    def state_nbytes(self) -> int:
        """Bytes of the model's memory, all slots together; the same at every step."""
        return self._state.nbytes

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close: weights are shared and freed with the process."""

    def _begin(self, mask: NDArray[np.bool_]) -> None:
        """Start a new episode in the slots of `mask`: draw a spawn and watch it."""
        model, spawns, _ = self.dreamer
        slots = np.flatnonzero(mask)
        for i in slots:
            generator = self.generators[i]
            assert generator is not None
            self._spawns[i] = generator.integers(len(spawns))
        for start in range(0, len(slots), RESET_BATCH):
            part = slots[start : start + RESET_BATCH]
            chosen = self._spawns[part]
            frames = torch.from_numpy(spawns.frames[chosen]).to(model.device)
            actions = torch.from_numpy(spawns.actions[chosen]).to(model.device)
            watched, _ = model.observe(model.initial_state(len(part)), frames, actions)
            position = np.zeros(self.num_envs, np.int64)
            position[part] = np.arange(len(part))
            here = np.zeros(self.num_envs, np.bool_)
            here[part] = True
            spread = watched.select(torch.from_numpy(position).to(model.device))
            self._state = self._state.merge(torch.from_numpy(here).to(model.device), spread)
            self._observations[part] = spawns.frames[chosen, -1]
        self._elapsed[slots] = 0
        self._ended[slots] = False

    def _imagine(
        self, actions: NDArray, skip: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Imagine one frame per slot; returns rewards and whether each episode goes on."""
        model = self.dreamer.model
        noise = np.zeros(model.noise_shape(self.num_envs), np.float32)
        for i, generator in enumerate(self.generators):
            if skip is None or not skip[i]:
                assert generator is not None
                generator.standard_normal(dtype=np.float32, out=noise[i])
        frames, outcome, self._state = model.imagine(
            self._state,
            torch.from_numpy(actions).to(model.device),
            torch.from_numpy(noise).to(model.device),
            self.steps,
        )
        self._observations[:] = to_uint8(frames).cpu().numpy()
        rewards = outcome.reward.cpu().numpy().astype(np.float64)
        return rewards, (outcome.continuation >= 0.5).cpu().numpy()

    def _check_actions(self, actions: Any) -> NDArray:
        if not self._begun:
            raise EnvironmentUsageError("call reset() before step()")
        actions = np.asarray(actions)
        discrete = self.dreamer.model.config.actions.discrete
        if discrete and actions.dtype.kind in "iu":
            actions = actions.astype(np.int64)
        elif not discrete and actions.dtype.kind in "iuf":
            actions = actions.astype(np.float32)
        if actions not in self.action_space:
            raise EnvironmentUsageError(
                f"actions must be {self.num_envs} elements of {self.single_action_space}, "
                f"got {actions!r}"
            )
        return actions
