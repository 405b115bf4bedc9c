"""`DreamVectorEnv`: N dreams stepped in one batch; the only place with episode logic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dreamenv.core.deprecation import renamed_arguments
from dreamenv.core.errors import (
    ConfigError,
    InvalidActionError,
    ResetNeededError,
)
from dreamenv.core.process import LOADING
from dreamenv.dream.arguments import (
    RENAMED,
    RENDER_MODES,
    REWARDS,
    a_folder,
    autoreset,
    device_name,
    one_of,
    own_spawns,
    share,
    whole_number,
)
from dreamenv.dream.attributes import SharedAttributes
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.observations import (
    Observation,
    final_observations,
    infos_of,
    observations_of,
)
from dreamenv.dream.random_streams import Generators, reseeded
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.reset_options import Beginning, read_options
from dreamenv.dream.restorable import Restorable
from dreamenv.dream.slots import Slots
from dreamenv.dream.spaces import OBSERVATIONS, action_space, observation_space
from dreamenv.dream.spawn_choice import SpawnChoice
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.start_states import StartStates
from dreamenv.dream.viewer import Window
from dreamenv.rollouts.actions import fit_actions, to_model
from dreamenv.world_model.checkpoint import BUNDLED, checkpoint_folder


# VectorEnv by name: libraries tell what an environment is by its class's direct bases (skrl).
class DreamVectorEnv(SharedAttributes, Restorable, VectorEnv):
    """A batch of dreamt environments.

    An episode begins from a *spawn*: the model observes a short stretch of real frames, the last
    of which is the first observation. Every later observation is imagined. An episode ends when
    the model believes that it terminated; it is truncated after `horizon` steps, or where the
    trust in its frames falls below `min_trust`.

    Every slot draws its spawns, noise and rewards from a generator of its own, so a slot's dream
    depends on its seed and actions alone, not on the batch around it.

    `info` holds the same keys after every `reset` and every step, as (num_envs,) arrays, each with
    the mask `_key` of the slots that it is about: `spawn`, int64, the index of the spawn that the
    episode began from, −1 for a context of the caller's; `uncertainty`, float64, the model's own
    about the episode (`dreamenv.dream.trust`); and, in all of them if the checkpoint has a
    calibration, else in none, `trust`, float64, in its frames, from 1 for a real frame to 0 for
    one that is no better than the mean frame. `source` tells where the episodes come from.

    `get_state`, `set_state` and `fork` take, restore and multiply all that the future depends on.
    Pickled or copied, an environment keeps that state and refers to the checkpoint.

    Args:
        num_envs: number of slots.
        checkpoint: checkpoint folder, or `"bundled:NAME"`.
        horizon: steps after which an episode is truncated; may be set later.
        denoising_steps: passes per frame; by default what the checkpoint says.
        autoreset_mode: when a slot that ended starts anew, as defined by Gymnasium.
        device: torch device, or `"auto"`.
        dtype: `"float32"`, `"bfloat16"`, or `"auto"`: the faster of the two on this machine.
        render_mode: `None`; `"rgb_array"`: `render` returns the frames; `"human"`: they are
            shown in a window at every reset and step, at ten a second (needs pygame).
        max_episode_steps: overrides `horizon`; `gymnasium.make_vec` passes it.
        observation: `"frame"`, or `"memory"`: a dictionary of the `frame` and of what the world
            model makes of it and of all before, `memory`.
        reward: what a step pays: the model's `"likeliest"` value (the expected one if rewards are
            not known to take few values), the `"expected"` one, or one `"sampled"` from its
            probabilities.
        min_trust: truncate episodes whose trust falls below; from 0 to 1.
        spawns: where episodes begin, instead of the checkpoint's own spawns.
        near_rewards: share of the episodes, from 0 to 1, that begin shortly before a reward: where
            rewards are rare, agents learn sooner. By default all spawns are equally likely.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or has no spawns; or `min_trust` is
            given and the checkpoint has no calibration of trust.
        ConfigError: an argument is out of range.
    """

    _single = False
    """Whether this is the batch of one behind a `DreamEnv`: errors then do not speak of slots."""

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    @renamed_arguments(**RENAMED)
    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        horizon: int = 256,
        denoising_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        device: str = "auto",
        dtype: str = "auto",
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        observation: str = "frame",
        reward: str = "likeliest",
        min_trust: float | None = None,
        spawns: Spawns | None = None,
        near_rewards: float | None = None,
    ) -> None:
        self.num_envs = whole_number("num_envs", num_envs)
        self.horizon = horizon
        if max_episode_steps is not None:
            self.horizon = whole_number("max_episode_steps", max_episode_steps)
        self.denoising_steps = (
            None if denoising_steps is None else whole_number("denoising_steps", denoising_steps)
        )
        self.render_mode = one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self.observation = one_of("observation", observation, OBSERVATIONS)
        self.reward = one_of("reward", reward, REWARDS)
        self.min_trust = None if min_trust is None else share("min_trust", min_trust)
        self._device, self._dtype = device_name(device), dtype
        self._own_spawns = own_spawns(spawns)
        self.near_rewards = None if near_rewards is None else share("near_rewards", near_rewards)
        self.autoreset_mode = autoreset(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        bundled = str(a_folder("checkpoint", checkpoint)).startswith(BUNDLED)
        # A copy of this environment may wake up in another folder.
        self._weights = str(checkpoint) if bundled else str(checkpoint_folder(checkpoint))
        self._load()
        model = self.loaded.model
        self.single_observation_space = observation_space(model, self.observation)
        self.single_action_space = action_space(model.config.actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._begun = False
        self._seeds: dict[int, tuple[np.random.Generator, int]] = {}

    def _load(self) -> None:
        """Read from the checkpoint what is not copied with an environment, and make the slots."""
        own = self._own_spawns
        with LOADING:  # once, whichever threads make environments
            self.loaded = load_for_dreaming(self._weights, self._device, self._dtype)
            model = self.loaded.model
            starts = self.loaded.start_states if own is None else StartStates(model, own)
        self.spawns = starts.spawns
        frame = (*model.config.frame_size, model.config.frame_channels)
        if self.spawns.frames.shape[2:] != frame:
            raise ConfigError(
                f"the spawns' frames are {self.spawns.frames.shape[2:]}, the model's {frame}"
            )
        trust = self.loaded.trust(self.denoising_steps)
        if self.min_trust is not None:
            trust.require()
        self._tells_trust = trust.calibrated
        shows_memory, human = self.observation == "memory", self.render_mode == "human"
        self._window = Window("DreamEnv", self.metadata["render_fps"]) if human else None
        choice = SpawnChoice(self.spawns, self.near_rewards)
        self._slots = Slots(self.num_envs, self.loaded, starts, choice, trust, shows_memory)

    @renamed_arguments(**RENAMED)
    def _remade(self, num_envs: int, **changes: Any) -> DreamVectorEnv:
        """Another environment, made as this one is but for its number of slots and `changes`."""
        arguments: dict[str, Any] = {
            "checkpoint": self._weights,
            "horizon": self.horizon,
            "denoising_steps": self.denoising_steps,
            "autoreset_mode": self.autoreset_mode,
            "device": self._device,
            "dtype": self._dtype,
            "render_mode": self.render_mode,
            "observation": self.observation,
            "reward": self.reward,
            "min_trust": self.min_trust,
            "spawns": self._own_spawns,
            "near_rewards": self.near_rewards,
        }
        return DreamVectorEnv(num_envs, **arguments | changes)

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
            ResetNeededError: the first reset leaves a slot out.
            EnvironmentUsageError: an option or the seed does not fit; nothing has changed then.
        """
        config = self.loaded.model.config
        beginning = read_options(options, self.num_envs, self.spawns, config, self._single)
        if not self._begun and not beginning.mask.all():
            raise ResetNeededError("the first reset must reset every slot")
        self._begin(beginning, reseeded(self.generators, beginning.mask, seed))
        return self._observe(), infos_of(self._slots, beginning.mask, self._tells_trust)

    def _begin(self, beginning: Beginning, generators: Generators) -> None:
        """Begin episodes with these generators of all slots; after an error all is as before."""
        slots, before = self._slots, self._slots.generators
        drawn = [(one, one.bit_generator.state) for one in before if one is not None]
        slots.generators = generators
        try:
            slots.begin(beginning)
        except BaseException:
            slots.generators = before
            for generator, state in drawn:
                generator.bit_generator.state = state
            raise
        for slot in range(self.num_envs):
            if generators[slot] is not before[slot]:
                self._note_seed(slot)
        self._begun = True

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
            actions: (num_envs, …) of the action space; for boxes of floats any numbers.

        Returns:
            Observations (num_envs, …), rewards, terminated, truncated (num_envs,), and info.
            With same-step autoreset a slot that ended shows its next episode's first observation,
            and `info["final_obs"]` and `info["final_info"]` tell of the episode that ended.

        Raises:
            ResetNeededError: before `reset`, or without autoreset after an episode's end.
            InvalidActionError: actions are outside the space.
        """
        actions, slots = self._check_actions(actions), self._slots
        next_step = self.autoreset_mode == AutoresetMode.NEXT_STEP
        if not next_step and slots.ended.any():
            if self._single:
                raise ResetNeededError("the episode has ended; call reset() before step()")
            raise ResetNeededError(
                f"the episode of slots {np.flatnonzero(slots.ended).tolist()} has ended; call "
                "reset(), for some of several slots with options={'reset_mask': mask}"
            )
        begun = slots.ended.copy()  # none but under next-step autoreset
        rewards, terminated = slots.imagine(actions, ~begun, self.reward, self.denoising_steps)
        truncated = slots.elapsed >= self.horizon
        if self.min_trust is not None:
            truncated |= slots.trust < self.min_trust
        truncated &= ~terminated
        if begun.any():
            slots.begin(Beginning(begun))
            rewards[begun], terminated[begun], truncated[begun] = 0.0, False, False
        ended = terminated | truncated
        slots.ended = ended.copy()
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            last = final_observations(slots, ended, self.observation)
            told = infos_of(slots, ended, self._tells_trust)
            final = {"final_obs": last, "_final_obs": ended.copy()}
            final |= {"final_info": told, "_final_info": ended.copy()}
            slots.begin(Beginning(ended))
        everywhere = np.ones(self.num_envs, np.bool_)
        info = infos_of(slots, everywhere, self._tells_trust) | final
        return self._observe(), rewards, terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The present frame of every slot, (H, W, C) uint8 each; or None, and a window shows it."""
        if self._window is not None:
            self._window.show(self._slots.frames)
        return tuple(self._slots.frames.copy()) if self.render_mode == "rgb_array" else None

    @property
    def state_nbytes(self) -> int:
        """Bytes of the model's memory, all slots together; the same at every step."""
        return self._slots.state_nbytes

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one; weights are shared and stay."""
        if self._window is not None:
            self._window.close()

    def _observe(self) -> Observation:
        """The present observations; a window shows them."""
        if self._window is not None:
            self._window.show(self._slots.frames)
        return observations_of(self._slots, self.observation)

    def _check_actions(self, actions: Any) -> NDArray:
        """Actions as the model takes them."""
        if not self._begun:
            raise ResetNeededError("call reset() before step()")
        fitting = fit_actions(self.single_action_space, actions, (self.num_envs,))
        if fitting is None:
            raise InvalidActionError(
                f"actions must be {self.num_envs} elements of {self.single_action_space}, "
                f"got {actions!r}"
            )
        return to_model(self.single_action_space, fitting)
