"""`Slots`: the batch of dreams behind an environment, begun and stepped without episode logic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.belief import Belief, belief_of
from dreamenv.dream.device_transfer import constant, to_device, to_host
from dreamenv.dream.forged import generators_of, require_possible
from dreamenv.dream.loading import LoadedWorldModel
from dreamenv.dream.random_streams import Generators, RandomStreams
from dreamenv.dream.reset_options import Beginning
from dreamenv.dream.spawn_choice import SpawnChoice
from dreamenv.dream.start_states import StartState, StartStates, observe_contexts
from dreamenv.dream.state import DreamState
from dreamenv.dream.trust import Trust
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.preprocessing import to_uint8

RESET_BATCH = 64
"""Contexts of the caller's observed at once; bounds the memory of resetting many slots."""


class Slots:
    """N dreams, each with a generator of its own for spawns, noise and rewards.

    Args:
        count: N.
        loaded: the world model.
        start_states: of the spawns where dreams begin.
        choice: draws one of them.
        trust: of the checkpoint, for the denoising passes that are made.
        shows_memory: whether features are wanted on the host.

    Attributes:
        generators: of each slot; None before its first beginning.
        frames: (N, H, W, C) uint8.
        memory: (N, feature_size) float32, if `shows_memory`.
        spawn: (N,) int64, as `DreamState.spawns`.
        source: (N,) objects, as `DreamState.sources`.
        elapsed: (N,) int64, as `DreamState.elapsed`.
        ended: (N,) bool, as `DreamState.ended`.
        uncertainty: (N,) float64, of each episode so far.
        trust: (N,) float64, in each frame; NaN without a calibration.
    """

    @isolated
    def __init__(
        self,
        count: int,
        loaded: LoadedWorldModel,
        start_states: StartStates,
        choice: SpawnChoice,
        trust: Trust,
        shows_memory: bool,
    ) -> None:
        self.loaded, self.spawns, self._start_states = loaded, start_states.spawns, start_states
        self._choice, self._calibration, self._shows_memory = choice, trust, shows_memory
        model = loaded.model
        # Noise under which frames are remembered is drawn only where there is some.
        self._draws = 2 if model.config.sampler.context_noise else 1
        self.generators: Generators = [None] * count
        self._streams = RandomStreams.beside(model.device)
        self._state = model.initial_state(count)
        self._features = torch.zeros(
            count, model.feature_size, dtype=torch.float32, device=model.device
        )
        self._uncertainty = torch.zeros(count, dtype=torch.float32, device=model.device)
        self._outcome: Outcome | None = None
        shape = (*model.config.frame_size, model.config.frame_channels)
        self.frames = np.zeros((count, *shape), np.uint8)
        self.memory = np.zeros((count, model.feature_size), np.float32)
        self.spawn, self.source = np.full(count, -1, np.int64), np.full(count, None, object)
        self.uncertainty, self.trust = np.zeros(count), np.zeros(count)
        self.elapsed, self.ended = np.zeros(count, np.int64), np.ones(count, np.bool_)

    def __len__(self) -> int:
        """Number of slots."""
        return len(self.elapsed)

    @property
    def state_nbytes(self) -> int:
        """Bytes of the model's memory, all slots together; the same at every step."""
        return self._state.nbytes

    @isolated
    def begin(self, beginning: Beginning) -> None:
        """Start a new episode in the chosen slots, from the caller's contexts or from spawns."""
        slots, contexts = np.flatnonzero(beginning.mask), beginning.context or self.spawns
        starts: list[tuple[list[int], StartState]] = []
        if beginning.context is None:
            if beginning.spawn is None:
                draws = [self._choice.draw(self._generator(i)) for i in slots.tolist()]
                chosen = np.array(draws)
            else:
                chosen = beginning.spawn[slots]
            for spawn in np.unique(chosen).tolist():
                starts.append((slots[chosen == spawn].tolist(), self._start_states[spawn]))
        elif len(contexts) == 1:
            chosen = np.zeros(len(slots), np.int64)
            starts.append((slots.tolist(), observe_contexts(self.loaded.model, contexts, [0])))
        else:
            chosen = slots
            for start in range(0, len(slots), RESET_BATCH):
                part = slots[start : start + RESET_BATCH].tolist()
                starts.append((part, observe_contexts(self.loaded.model, contexts, part)))
        # Only now that all start states are there does anything change.
        for part, start_state in starts:
            self._put(part, start_state)
        own = beginning.context is not None
        self.spawn[slots] = -1 if own else chosen
        for i, spawn in zip(slots, chosen, strict=True):
            self.source[i] = None if own else contexts.sources[spawn]
        self.frames[slots] = contexts.frames[chosen, -1]
        self._read_beginnings(slots)
        self.elapsed[slots], self.ended[slots] = 0, False

    @isolated
    def imagine(
        self, actions: NDArray, going_on: NDArray[np.bool_], reward: str, passes: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Imagine one frame per slot.

        Args:
            actions: (N,) int64 or (N, dims) float32.
            going_on: (N,), False where the slot begins anew right after and draws nothing.
            reward: what is paid, one of `dreamenv.dream.vector_env.REWARDS`.
            passes: denoising passes of the frame, by default the checkpoint's.

        Returns:
            Rewards, and whether each episode terminates, (N,).
        """
        model = self.loaded.model
        noise = np.zeros(model.noise_shape(len(self)), np.float32)
        uniforms = np.zeros(len(self), np.float32)
        drawing, drawn = np.flatnonzero(going_on).tolist(), noise[:, : self._draws]
        sampled = uniforms if reward == "sampled" else None
        self._streams.draw(self.generators, drawing, drawn, sampled)
        frames, outcome, self._state = model.imagine(
            self._state,
            to_device(actions, model.device),
            to_device(noise, model.device),
            passes,
            reuse=True,
        )
        assert outcome.features is not None
        self._features, self._outcome = outcome.features.float(), outcome
        self._uncertainty, trust = self._calibration(model, self._state, self._uncertainty)
        rewards = self._rewards(outcome, reward, uniforms)
        readings = [rewards.float(), outcome.continuation.float(), self._uncertainty, trust]
        columns = [torch.stack(readings, 1), *[self._features] * self._shows_memory]
        self.frames, read, *memory = to_host(to_uint8(frames), *columns)
        if memory:
            self.memory = memory[0]
        paid, continuation, self.uncertainty, self.trust = read.T.astype(np.float64)
        self.elapsed += 1
        return paid, continuation < 0.5

    def expected_rewards(self) -> NDArray[np.float64]:
        """The mean of what the last imagined step may pay, (N,); NaN before the first."""
        if self._outcome is None:
            return np.full(len(self), np.nan)
        return self._expected(self._outcome).double().cpu().numpy()

    def belief(self) -> Belief | None:
        """Where each dream believes it is; None where the model has no pose of its own."""
        return belief_of(self.loaded.model, self._state)

    @isolated
    def capture(self, slots: Sequence[int]) -> DreamState:
        """The present state of some slots, sharing no memory with them."""
        rows = list(slots)
        return DreamState(
            memory=self._state.select(rows),
            features=self._features[rows],
            uncertainty=self._uncertainty[rows],
            frames=self.frames[rows],
            elapsed=self.elapsed[rows],
            ended=self.ended[rows],
            spawns=self.spawn[rows],
            sources=tuple(self.source[rows]),
            generators=tuple(dict(self._generator(i).bit_generator.state) for i in rows),
            fingerprint=self.loaded.fingerprint,
        )

    @isolated
    def restore(self, state: DreamState) -> None:
        """Go on from a state.

        Raises:
            EnvironmentUsageError: it is of other weights, of another number of slots, or no state
                that a dream can be in; nothing has changed then.
        """
        if not isinstance(state, DreamState):
            raise EnvironmentUsageError(f"a state is a DreamState, not a {type(state).__name__}")
        theirs, own = str(state.fingerprint), self.loaded.fingerprint
        if theirs != own:
            raise EnvironmentUsageError(
                f"this state was dreamt by other weights ({theirs[:12]}…) than those "
                f"in {self.loaded.folder} ({own[:12]}…); make the "
                "environment with the checkpoint that the state was taken from"
            )
        if len(state) != len(self):
            raise EnvironmentUsageError(
                f"the state has {len(state)} slots, the environment {len(self)}; take some with "
                "state.select(index), or copies with state.repeat(n)"
            )
        features, frame = self._features.shape[1], self.frames.shape[1:]
        require_possible(state, self._state, features, frame, len(self.spawns))
        generators = generators_of(state)
        device = self.loaded.model.device
        everywhere = torch.ones(len(self), dtype=torch.bool, device=device)
        # Merged, not assigned: copied, and cast to the precision of this environment.
        memory = self._state.merge(everywhere, state.memory.to(device))
        shown = state.features.to(device, torch.float32, copy=True)
        uncertainty = state.uncertainty.to(device, torch.float32, copy=True)
        trust = self._calibration.of(uncertainty).cpu().numpy().astype(np.float64)
        # From here on nothing can fail: an error above has left all as it was.
        self._state, self._features, self._uncertainty = memory, shown, uncertainty
        self.frames = state.frames.copy()
        self.memory = shown.cpu().numpy()
        self.spawn, self.source[:] = state.spawns.copy(), state.sources
        self.uncertainty, self.trust = uncertainty.cpu().numpy().astype(np.float64), trust
        self.elapsed, self.ended = state.elapsed.copy(), state.ended.copy()
        self.generators = list(generators)

    def _put(self, slots: list[int], start_state: StartState) -> None:
        """Replace the memory of `slots`, by a start state of one context for each or for all."""
        memory, features = start_state
        if len(features) < len(slots):
            memory, features = memory.select([0] * len(slots)), features[[0] * len(slots)]
        self._state = self._state.put(slots, memory)
        self._features[slots] = features

    def _read_beginnings(self, slots: NDArray) -> None:
        """Bring memory, uncertainty and trust of slots that have just begun to the host."""
        uncertainty, trust = self._calibration(self.loaded.model, self._state)
        self._uncertainty[slots] = uncertainty[slots]
        self.uncertainty[slots] = uncertainty.cpu().numpy()[slots]
        self.trust[slots] = trust.cpu().numpy()[slots]
        if self._shows_memory:
            self.memory[slots] = self._features.cpu().numpy()[slots]

    def _rewards(self, outcome: Outcome, reward: str, uniforms: NDArray[np.float32]) -> Tensor:
        """The reward of each slot, (N,); `uniforms` (N,) in [0, 1) decide sampled ones."""
        if reward == "likeliest":
            return outcome.reward
        if reward == "expected":
            return self._expected(outcome)
        probabilities = outcome.reward_probabilities
        values = constant(self.loaded.model.config.rewards.values, probabilities)
        drawn = to_device(uniforms, probabilities.device).unsqueeze(-1)
        below = (probabilities.cumsum(-1) <= drawn).sum(-1)
        return values[below.clamp(max=len(values) - 1)]

    def _expected(self, outcome: Outcome) -> Tensor:
        probabilities = outcome.reward_probabilities
        values = constant(self.loaded.model.config.rewards.values, probabilities)
        return (probabilities * values).sum(-1)

    def _generator(self, slot: int) -> np.random.Generator:
        generator = self.generators[slot]
        assert generator is not None
        return generator
