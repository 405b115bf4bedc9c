"""`DreamVectorEnv`: N dreams stepped in one batch; the only place with episode logic."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dreamenv.core.errors import ConfigError, EnvironmentUsageError
from dreamenv.core.process import LOADING
from dreamenv.dream.arguments import (
    a_folder,
    device_name,
    one_of,
    own_spawns,
    share,
    whole_number,
)
from dreamenv.dream.attributes import SharedAttributes
from dreamenv.dream.loading import load_dreamer
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.reset_options import Beginning, read_options
from dreamenv.dream.slots import Slots
from dreamenv.dream.spaces import OBSERVATIONS, action_space, observation_space
from dreamenv.dream.spawns import Spawns, spawns_from_rollouts
from dreamenv.dream.start_states import WatchedSpawns
from dreamenv.dream.state import DreamState, seeded
from dreamenv.dream.viewer import Window
from dreamenv.rollouts.actions import fit_actions, to_model
from dreamenv.world_model.checkpoint import BUNDLED, checkpoint_folder

RENDER_MODES = ("rgb_array", "human")
REWARDS = ("likeliest", "expected", "sampled")
"""What a step pays: the model's likeliest value, its expectation, or a draw."""

Observation = Any
"""uint8 frames, or a dictionary of `frame` and `memory`; as the observation space says."""


# VectorEnv by name: libraries tell what an environment is by its class's direct bases (skrl).
class DreamVectorEnv(SharedAttributes, VectorEnv):
    """A batch of dreamt environments.

    An episode begins from a *spawn*: the model watches a short stretch of real frames, the last
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
        steps: denoising passes per frame; by default what the checkpoint says.
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

    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
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
        self.num_envs = whole_number("num_envs", num_envs)
        self.horizon = horizon
        if max_episode_steps is not None:
            self.horizon = whole_number("max_episode_steps", max_episode_steps)
        self.steps = None if steps is None else whole_number("steps", steps)
        self.render_mode = one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self.observation = one_of("observation", observation, OBSERVATIONS)
        self.reward = one_of("reward", reward, REWARDS)
        self.min_trust = None if min_trust is None else share("min_trust", min_trust)
        self._device, self._dtype = device_name(device), dtype
        self._own_spawns = own_spawns(spawns)
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            known = ", ".join(mode.value for mode in AutoresetMode)
            raise ConfigError(
                f"autoreset_mode is one of {known}, not {autoreset_mode!r}"
            ) from error
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        bundled = str(a_folder("checkpoint", checkpoint)).startswith(BUNDLED)
        # A copy of this environment may wake up in another folder.
        self._weights = str(checkpoint) if bundled else str(checkpoint_folder(checkpoint))
        self._load()
        model = self.dreamer.model
        self.single_observation_space = observation_space(model, self.observation)
        self.single_action_space = action_space(model.config.actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._begun = False
        self._seeds: dict[int, tuple[np.random.Generator, int]] = {}

    def _load(self) -> None:
        """Everything that is not copied with an environment but read from the checkpoint."""
        own = self._own_spawns
        with LOADING:  # once, whichever threads make environments
            self.dreamer = load_dreamer(self._weights, self._device, self._dtype)
            model = self.dreamer.model
            watched = self.dreamer.watched if own is None else WatchedSpawns(model, own)
        self.spawns = watched.spawns
        frame = (*model.config.frame_size, model.config.frame_channels)
        if self.spawns.frames.shape[2:] != frame:
            raise ConfigError(
                f"the spawns' frames are {self.spawns.frames.shape[2:]}, the model's {frame}"
            )
        trust = self.dreamer.trust(self.steps)
        if self.min_trust is not None:
            trust.require()
        self._tells_trust = trust.calibrated
        shows_memory, human = self.observation == "memory", self.render_mode == "human"
        self._window = Window("DreamEnv", self.metadata["render_fps"]) if human else None
        self._slots = Slots(self.num_envs, self.dreamer, watched, trust, shows_memory)

    @classmethod
    def from_rollouts(
        cls,
        rollouts: str | Path,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
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
            ConfigError: an argument is out of range.
        """
        spawns = draw_for(checkpoint, rollouts, count, length, seed)
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
        beginning = read_options(options, self.num_envs, self.spawns, config, self._single)
        if not self._begun and not beginning.mask.all():
            raise EnvironmentUsageError("the first reset must reset every slot")
        self._begin(beginning, self._seeded(seed, beginning.mask))
        return self._observe(), self._tell(beginning.mask)

    def _seeded(
        self, seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]
    ) -> list[np.random.Generator | None]:
        """The generators of all slots, those of the slots that begin as seeded anew."""
        if seed is None or isinstance(seed, int | np.integer):
            new = [None if seed is None else seeded(seed, i) for i in range(self.num_envs)]
        elif not isinstance(seed, Sequence | np.ndarray) or len(seed) != self.num_envs:
            raise EnvironmentUsageError(f"{self.num_envs} slots need as many seeds, got {seed!r}")
        else:
            new = [None if one is None else seeded(one) for one in seed]
        own = self.generators
        return [
            (new[i] or own[i] or np.random.default_rng()) if mask[i] else own[i]
            for i in range(self.num_envs)
        ]

    def _begin(self, beginning: Beginning, generators: list[np.random.Generator | None]) -> None:
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
            EnvironmentUsageError: before `reset`, or with actions outside the space.
        """
        actions, slots = self._check_actions(actions), self._slots
        next_step = self.autoreset_mode == AutoresetMode.NEXT_STEP
        if not next_step and slots.ended.any():
            if self._single:
                raise EnvironmentUsageError("the episode has ended; call reset() before step()")
            raise EnvironmentUsageError(
                f"the episode of slots {np.flatnonzero(slots.ended).tolist()} has ended; call "
                "reset(), for some of several slots with options={'reset_mask': mask}"
            )
        begun = slots.ended.copy()  # none but under next-step autoreset
        rewards, terminated = slots.imagine(actions, ~begun, self.reward, self.steps)
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
            final = {"final_obs": self._final_observations(ended), "_final_obs": ended.copy()}
            final |= {"final_info": self._tell(ended), "_final_info": ended.copy()}
            slots.begin(Beginning(ended))
        everywhere = np.ones(self.num_envs, np.bool_)
        info = self._tell(everywhere) | final
        return self._observe(), rewards, terminated, truncated, info

    def source(self) -> tuple[dict[str, Any] | None, ...]:
        """The real rollout that the present episode of each slot began in.

        Returns:
            For each slot a copy of its spawn's entry in `dreamenv.dream.spawns.Spawns.sources`,
            by which the real environment is brought to the same place
            (`dreamenv.real.replayed.SpawnedEnv`); None where a context of the caller's began it.

        Raises:
            EnvironmentUsageError: before `reset`.
        """
        if not self._begun:
            raise EnvironmentUsageError("no episode has a source before reset()")
        return tuple(deepcopy(source) for source in self._slots.source)

    def get_state(self) -> DreamState:
        """Everything that the future of these dreams depends on.

        Raises:
            EnvironmentUsageError: before `reset`.
        """
        if not self._begun:
            raise EnvironmentUsageError("there is no state before reset()")
        return self._slots.capture()

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
        """These dreams continued in n ways each, in an environment of num_envs · n slots.

        Args:
            n: forks of each slot; those of slot i are slots i · n … i · n + n − 1.
            seed: fork j draws its noise as seeded with seed + j. Without a seed forks carry the
                generator of their slot, so that the same actions lead to the same future.
            changes: arguments in which the forks' environment differs from this one.

        Raises:
            EnvironmentUsageError: before `reset`, or n is less than 1.
            ConfigError: as when an environment is made.
        """
        state = self.get_state().repeat(n)
        arguments: dict[str, Any] = {
            "checkpoint": self._weights,
            "horizon": self.horizon,
            "steps": self.steps,
            "autoreset_mode": self.autoreset_mode,
            "device": self._device,
            "dtype": self._dtype,
            "render_mode": self.render_mode,
            "observation": self.observation,
            "reward": self.reward,
            "min_trust": self.min_trust,
            "spawns": self._own_spawns,
        }
        forks = DreamVectorEnv(len(state), **arguments | changes)
        forks.set_state(state if seed is None else state.reseed(seed))
        return forks

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: weights and spawns stay behind, the dreams come along."""
        left = ("dreamer", "spawns", "_slots", "_window", "_seeds")
        kept = {name: value for name, value in vars(self).items() if name not in left}
        return kept | {"_saved": self.get_state() if self._begun else None}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Wake up: the same checkpoint, and the dreams as they were."""
        saved = kept.pop("_saved")
        vars(self).update(kept, _seeds={})
        self._load()
        if saved is not None:
            self.set_state(saved)

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
        """The present observations, which nothing writes into later; a window shows them."""
        if self._window is not None:
            self._window.show(self._slots.frames)
        if self.observation == "frame":
            return self._slots.frames.copy()
        return {"frame": self._slots.frames.copy(), "memory": self._slots.memory.copy()}

    def _final_observations(self, ended: NDArray[np.bool_]) -> NDArray[np.object_]:
        """The present observation of each slot that ended, None elsewhere."""
        slots, final = self._slots, np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            frame = slots.frames[i].copy()
            both = self.observation == "memory"
            final[i] = {"frame": frame, "memory": slots.memory[i].copy()} if both else frame
        return final

    def _tell(self, mask: NDArray[np.bool_]) -> dict[str, Any]:
        """`info` of the slots of `mask`; always the same keys, so that anyone can batch it."""
        slots = self._slots
        told = {"spawn": slots.spawn, "uncertainty": slots.uncertainty}
        if self._tells_trust:
            told["trust"] = slots.trust
        info: dict[str, Any] = {}
        for name, values in told.items():
            info |= {name: values.copy(), f"_{name}": mask.copy()}
        return info

    def _check_actions(self, actions: Any) -> NDArray:
        """Actions in the model's terms."""
        if not self._begun:
            raise EnvironmentUsageError("call reset() before step()")
        fitting = fit_actions(self.single_action_space, actions, (self.num_envs,))
        if fitting is None:
            raise EnvironmentUsageError(
                f"actions must be {self.num_envs} elements of {self.single_action_space}, "
                f"got {actions!r}"
            )
        return to_model(self.single_action_space, fitting)


def draw_for(checkpoint: Any, rollouts: Any, count: Any, length: Any, seed: Any) -> Spawns:
    """Spawns of a rollout store for a checkpoint; arguments as of `from_rollouts`, checked."""
    return spawns_from_rollouts(
        checkpoint_folder(a_folder("checkpoint", checkpoint)),
        a_folder("rollouts", rollouts),
        whole_number("count", count),
        whole_number("length", length),
        whole_number("seed", seed, least=0),
    )
