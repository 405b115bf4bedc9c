"""`DreamVectorEnv`: N dreams stepped in one batch; the only place with episode logic."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.dream.beginnings import Beginning, read_options
from dreamenv.dream.spaces import action_space, observation_space
from dreamenv.dream.spawns import Spawns, spawns_from_rollouts
from dreamenv.dream.trust import Trust
from dreamenv.dream.weights import load_dreamer
from dreamenv.errors import ConfigError, EnvironmentUsageError
from dreamenv.world_model.checkpoint import checkpoint_folder
from dreamenv.world_model.heads import Outcome
from dreamenv.world_model.preprocessing import to_uint8

RESET_BATCH = 64
"""Contexts that are watched at once; bounds the memory of resetting many slots."""

REWARDS = ("likeliest", "expected", "sampled")
"""What a step pays: the model's likeliest value, its expectation, or a draw."""

Observation = Any
"""uint8 frames, or a dictionary of `frame` and `memory`; as the observation space says."""


class DreamVectorEnv(VectorEnv):
    """A batch of dreamt environments.

    An episode begins from a *spawn*: the model watches a short stretch of real frames, the last
    of which is the first observation. Every later observation is imagined. An episode ends when
    the model believes that it terminated; it is truncated after `horizon` steps, or where the
    trust in its frames falls below `min_trust`.

    Every slot draws its spawns, noise and rewards from a generator of its own, so a slot's dream
    depends on its seed and actions alone, not on the batch around it.

    `info` holds, after `reset` and after every step, each with the mask `_key` of the slots that
    it is about: `spawn`, the index of the spawn that the episode began from, −1 for a context of
    the caller's; `uncertainty` of the present frame (`dreamenv.dream.trust`) and, where the
    checkpoint has a calibration, `trust` in it, from 1 for a real frame to 0 for one that is no
    better than the mean frame. For slots whose episode begins it holds `source`, the real rollout
    that the spawn was cut from (`dreamenv.dream.spawns.Spawns.sources`).

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
        observation: `"frame"`, or `"memory"`: a dictionary of the `frame` and of what the world
            model makes of it and of all before, `memory`.
        reward: what a step pays: the model's `"likeliest"` value (the expected one if rewards are
            not known to take few values), the `"expected"` one, or one `"sampled"` from its
            probabilities.
        min_trust: truncate episodes whose trust falls below; from 0 to 1.
        spawns: where episodes begin, instead of the checkpoint's own spawns.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or has no spawns; or `min_trust` is
            given and the checkpoint has no calibration of trust.
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
        observation: str = "frame",
        reward: str = "likeliest",
        min_trust: float | None = None,
        spawns: Spawns | None = None,
    ) -> None:
        self.horizon = horizon if max_episode_steps is None else max_episode_steps
        if num_envs < 1 or self.horizon < 1 or (steps is not None and steps < 1):
            raise ConfigError(
                f"num_envs, horizon and steps must be at least 1, got {num_envs}, "
                f"{self.horizon}, {steps}"
            )
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', not {render_mode!r}")
        if reward not in REWARDS:
            raise ConfigError(f"reward is one of {', '.join(REWARDS)}, not {reward!r}")
        if min_trust is not None and not 0 <= min_trust <= 1:
            raise ConfigError(f"min_trust is from 0 to 1, not {min_trust}")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise ConfigError(f"autoreset_mode is one of {known}: {error}") from error
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.steps, self.render_mode = num_envs, steps, render_mode
        self.observation, self.reward, self.min_trust = observation, reward, min_trust
        self.dreamer = load_dreamer(checkpoint, device, dtype)
        model = self.dreamer.model
        self.spawns = self.dreamer.spawns if spawns is None else spawns
        self.trust = Trust.load(self.dreamer.folder, steps)
        if min_trust is not None:
            self.trust.require()
        self.single_observation_space = observation_space(model, observation)
        self.single_action_space = action_space(model.config.actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generators: list[np.random.Generator | None] = [None] * num_envs
        frame = (*model.config.frame_size, model.config.frame_channels)
        if self.spawns.frames.shape[2:] != frame:
            raise ConfigError(
                f"the spawns' frames are {self.spawns.frames.shape[2:]}, the model's {frame}"
            )
        self._state = model.initial_state(num_envs)
        self._features = torch.zeros(num_envs, model.feature_size, device=model.device)
        self._frames = np.zeros((num_envs, *frame), np.uint8)
        self._memory = np.zeros((num_envs, model.feature_size), np.float32)
        self._spawns = np.full(num_envs, -1, np.int64)
        self._sources = np.full(num_envs, None, object)
        self._uncertainty = np.zeros(num_envs, np.float64)
        self._trust = np.zeros(num_envs, np.float64)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, np.bool_)
        self._begun = False

    @classmethod
    def from_rollouts(
        cls,
        rollouts: str | Path,
        checkpoint: str | Path = "bundled:memory_maze_9x9",
        count: int = 64,
        length: int = 32,
        seed: int = 0,
        **kwargs: Any,
    ) -> Self:
        """A dream whose episodes begin from stretches of a rollout store.

        Args:
            rollouts: a rollout store of the environment that the model learned.
            checkpoint: checkpoint folder, or `"bundled:NAME"`.
            count: how many stretches are drawn, evenly over the store's episodes.
            length: frames of each.
            seed: of the draw.
            kwargs: the other arguments of the environment.

        Raises:
            RolloutError: the store does not fit the model, or its episodes are too short.
        """
        folder = checkpoint_folder(checkpoint)
        spawns = spawns_from_rollouts(folder, rollouts, count, length, seed)
        return cls(checkpoint=checkpoint, spawns=spawns, **kwargs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every slot, or in those of `options["reset_mask"]`.

        Args:
            seed: slot i is seeded with seed + i, or with seed[i]; None goes on with its stream.
            options: `reset_mask`, (num_envs,) bool: the slots that begin.
                `spawn`, an index or (num_envs,) of them: begin there instead of at random.
                `context`, uint8 frames (t, H, W, C) for all slots or (num_envs, t, H, W, C):
                begin from these frames of the real environment; the last is the observation.
                `actions`, (t − 1, …) or (num_envs, t − 1, …): those taken between the frames.

        Returns:
            Observations (num_envs, …) and info.

        Raises:
            EnvironmentUsageError: an option or the seed does not fit; nothing has changed then.
        """
        config = self.dreamer.model.config
        beginning = read_options(options, self.num_envs, self.spawns, config)
        if not self._begun and not beginning.mask.all():
            raise EnvironmentUsageError("the first reset must reset every slot")
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise EnvironmentUsageError(f"{self.num_envs} slots need as many seeds, got {seed}")
        for i in np.flatnonzero(beginning.mask).tolist():
            if seed[i] is not None or self.generators[i] is None:
                self.generators[i] = np.random.default_rng(seed[i])
        self._begin(beginning)
        self._begun = True
        return self._observe(), self._tell(beginning.mask, begun=beginning.mask)

    def step(
        self, actions: Any
    ) -> tuple[
        Observation,
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Dream one step in every slot.

        Args:
            actions: (num_envs,) integers, or (num_envs, dims) floats.

        Returns:
            Observations (num_envs, …), rewards, terminated, truncated (num_envs,), and info.
            With same-step autoreset a slot that ended shows its next episode's first observation,
            and `info["final_obs"]` and `info["final_info"]` tell of the episode that ended.

        Raises:
            EnvironmentUsageError: before `reset`, or with actions outside the space.
        """
        actions = self._check_actions(actions)
        next_step = self.autoreset_mode == AutoresetMode.NEXT_STEP
        if not next_step and self._ended.any():
            raise EnvironmentUsageError(
                f"the episode of slots {np.flatnonzero(self._ended).tolist()} has ended; call "
                "reset(), for some of several slots with options={'reset_mask': mask}"
            )
        restart = self._ended.copy()  # none but under next-step autoreset
        rewards, terminated = self._imagine(actions, ~restart)
        self._elapsed += 1
        truncated = self._elapsed >= self.horizon
        if self.min_trust is not None:
            truncated |= self._trust < self.min_trust
        truncated &= ~terminated
        if restart.any():
            self._begin(Beginning(restart))
            rewards[restart], terminated[restart], truncated[restart] = 0.0, False, False
        self._ended = terminated | truncated
        ended = self._ended.copy()
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = {"final_obs": self._final_observations(ended), "_final_obs": ended}
            final |= {"final_info": self._tell(ended), "_final_info": ended.copy()}
            self._begin(Beginning(ended))
            restart = ended
        everywhere = np.ones(self.num_envs, np.bool_)
        info = self._tell(everywhere, begun=restart) | final
        return self._observe(), rewards, terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The present frame of every slot, (H, W, C) uint8 each."""
        if self.render_mode is None:
            return None
        return tuple(self._frames.copy())

    @property
    def state_nbytes(self) -> int:
        """Bytes of the model's memory, all slots together; the same at every step."""
        return self._state.nbytes

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing to close: weights are shared and freed with the process."""

    def _begin(self, beginning: Beginning) -> None:
        """Start a new episode in the chosen slots: watch their context, or a spawn."""
        slots = np.flatnonzero(beginning.mask)
        if beginning.context is not None:
            contexts = beginning.context
            chosen = np.zeros(len(slots), np.int64) if len(contexts) == 1 else slots
            self._spawns[slots], self._sources[slots] = -1, None
        else:
            contexts = self.spawns
            if beginning.spawn is None:
                chosen = np.array(
                    [self._generator(i).integers(len(contexts)) for i in slots.tolist()]
                )
            else:
                chosen = beginning.spawn[slots]
            self._spawns[slots] = chosen
            for i, spawn in zip(slots, chosen, strict=True):
                self._sources[i] = contexts.sources[spawn]
        watched, which = np.unique(chosen, return_inverse=True)
        for start in range(0, len(watched), RESET_BATCH):
            part = watched[start : start + RESET_BATCH]
            here = (which >= start) & (which < start + RESET_BATCH)
            frames, actions = contexts.frames[part], contexts.actions[part]
            self._watch(frames, actions, slots[here], which[here] - start)
        self._elapsed[slots] = 0
        self._ended[slots] = False

    def _watch(self, frames: NDArray, actions: NDArray, slots: NDArray, which: NDArray) -> None:
        """Take contexts (n, t, …) into an empty memory, and `which` of them into `slots`."""
        model = self.dreamer.model
        watched, outcome = model.observe(
            model.initial_state(len(frames)),
            torch.from_numpy(frames).to(model.device),
            torch.from_numpy(actions).to(model.device),
        )
        uncertainty, trust = self.trust(model, watched)
        index = np.zeros(self.num_envs, np.int64)
        index[slots] = which
        mask = np.zeros(self.num_envs, np.bool_)
        mask[slots] = True
        spread, here = torch.from_numpy(index).to(model.device), torch.from_numpy(mask)
        here = here.to(model.device)
        self._state = self._state.merge(here, watched.select(spread))
        assert outcome.features is not None
        features = outcome.features[:, -1].float()
        self._features = torch.where(here.unsqueeze(1), features[spread], self._features)
        self._frames[slots] = frames[which, -1]
        if self.observation == "memory":
            self._memory[slots] = features.cpu().numpy()[which]
        self._uncertainty[slots] = uncertainty.cpu().numpy()[which]
        self._trust[slots] = trust.cpu().numpy()[which]

    def _imagine(
        self, actions: NDArray, going_on: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Imagine one frame per slot; returns rewards and whether each episode terminates.

        Slots that do not go on, because they begin anew right after, draw nothing.
        """
        model = self.dreamer.model
        noise = np.zeros(model.noise_shape(self.num_envs), np.float32)
        chances = np.zeros(self.num_envs, np.float32)
        for i in np.flatnonzero(going_on).tolist():
            generator = self._generator(i)
            generator.standard_normal(dtype=np.float32, out=noise[i])
            if self.reward == "sampled":
                chances[i] = generator.random(dtype=np.float32)
        frames, outcome, self._state = model.imagine(
            self._state,
            torch.from_numpy(actions).to(model.device),
            torch.from_numpy(noise).to(model.device),
            self.steps,
        )
        assert outcome.features is not None
        self._features = outcome.features.float()
        readings = torch.stack(
            [
                self._pay(outcome, chances).float(),
                outcome.continuation.float(),
                *self.trust(model, self._state),
            ]
        )
        columns = [readings.T]
        if self.observation == "memory":
            columns.append(self._features)
        self._frames, read, *memory = _to_host(to_uint8(frames), *columns)
        if memory:
            self._memory = memory[0]
        reward, continuation, uncertainty, trust = read.T.astype(np.float64)
        self._uncertainty, self._trust = uncertainty, trust
        return reward, continuation < 0.5

    def _pay(self, outcome: Outcome, chances: NDArray[np.float32]) -> Tensor:
        """The reward of each slot, (num_envs,); `chances` in [0, 1) decide sampled ones."""
        if self.reward == "likeliest":
            return outcome.reward
        probabilities = outcome.reward_probabilities
        values = probabilities.new_tensor(self.dreamer.model.config.rewards.values)
        if self.reward == "expected":
            return (probabilities * values).sum(-1)
        chance = torch.from_numpy(chances).to(probabilities.device).unsqueeze(-1)
        above = (probabilities.cumsum(-1) <= chance).sum(-1)
        return values[above.clamp(max=len(values) - 1)]

    def _observe(self) -> Observation:
        """The present observations, which nothing writes into later."""
        if self.observation == "frame":
            return self._frames.copy()
        return {"frame": self._frames.copy(), "memory": self._memory.copy()}

    def _final_observations(self, ended: NDArray[np.bool_]) -> NDArray[np.object_]:
        """The present observation of each slot that ended, None elsewhere."""
        final = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            frame = self._frames[i].copy()
            memory = self.observation == "memory"
            final[i] = {"frame": frame, "memory": self._memory[i].copy()} if memory else frame
        return final

    def _tell(
        self, mask: NDArray[np.bool_], begun: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        """`info` of the slots of `mask`, with the sources of those that begin an episode."""
        info: dict[str, Any] = {"spawn": self._spawns.copy(), "_spawn": mask.copy()}
        info |= {"uncertainty": self._uncertainty.copy(), "_uncertainty": mask.copy()}
        if self.trust.calibrated:
            info |= {"trust": self._trust.copy(), "_trust": mask.copy()}
        known = np.zeros_like(mask) if begun is None else begun & (self._spawns >= 0)
        if known.any():
            sources = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(known):
                sources[i] = deepcopy(self._sources[i])  # the caller may change it
            info |= {"source": sources, "_source": known}
        return info

    def _generator(self, slot: int) -> np.random.Generator:
        generator = self.generators[slot]
        assert generator is not None
        return generator

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


def _to_host(frames: Tensor, *columns: Tensor) -> list[NDArray]:
    """Frames (n, …) uint8 and float32 columns (n, k) as NumPy arrays, in a single transfer."""
    parts = [column.contiguous().view(torch.uint8) for column in columns]
    rows = torch.cat([*parts, frames.flatten(1)], 1).cpu().numpy()
    taken, start = [], 0
    for part in parts:
        stop = start + part.shape[1]
        taken.append(np.ascontiguousarray(rows[:, start:stop]).view(np.float32))
        start = stop
    return [np.ascontiguousarray(rows[:, start:]).reshape(frames.shape), *taken]
