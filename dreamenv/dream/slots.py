"""The batch of dreams behind an environment: beginning and imagining, without episode logic."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.device_transfer import constant, to_device, to_host
from dreamenv.dream.forged import generators_of, require_possible
from dreamenv.dream.loading import Dreamer
from dreamenv.dream.random_streams import Chance
from dreamenv.dream.reset_options import Beginning
from dreamenv.dream.start_states import Watched, WatchedSpawns, watch
from dreamenv.dream.state import DreamState
from dreamenv.dream.trust import Trust
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.preprocessing import to_uint8

RESET_BATCH = 64
"""Contexts of the caller's that are watched at once; bounds the memory of resetting many slots."""


class Slots:
    """N dreams, each with a generator of its own for spawns, noise and rewards.

    Args:
        count: N.
        dreamer: the world model.
        watched: the spawns where dreams begin.
        trust: of the checkpoint, for the denoising passes that are made.
        shows_memory: whether features are wanted on the host.

    Attributes:
        generators: of each slot; None before its first beginning.
        frames: (N, H, W, C) uint8.
        memory: (N, feature_size) float32, if `shows_memory`.
        spawn, elapsed: (N,) int64. source: (N,) objects. ended: (N,) bool. As in `DreamState`.
        uncertainty, trust: (N,) float64.
    """

    @isolated
    def __init__(
        self, count: int, dreamer: Dreamer, watched: WatchedSpawns, trust: Trust, shows_memory: bool
    ) -> None:
        self.dreamer, self.spawns, self._watched = dreamer, watched.spawns, watched
        self._judge, self._shows_memory = trust, shows_memory
        model = dreamer.model
        # Noise under which frames are remembered is drawn only where there is some.
        self._draws = 2 if model.config.sampler.context_noise else 1
        self.generators: list[np.random.Generator | None] = [None] * count
        self._chance = Chance.beside(model.device)
        self._state = model.initial_state(count)
        self._features = torch.zeros(
            count, model.feature_size, dtype=torch.float32, device=model.device
        )
        self._doubt = torch.zeros(count, dtype=torch.float32, device=model.device)
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
        """Start a new episode in the chosen slots: watch the caller's context, or a spawn."""
        slots, contexts = np.flatnonzero(beginning.mask), beginning.context or self.spawns
        watched: list[tuple[list[int], Watched]] = []
        if beginning.context is None:
            if beginning.spawn is None:
                draws = [self._generator(i).integers(len(contexts)) for i in slots.tolist()]
                chosen = np.array(draws)
            else:
                chosen = beginning.spawn[slots]
            for spawn in np.unique(chosen).tolist():
                watched.append((slots[chosen == spawn].tolist(), self._watched[spawn]))
        elif len(contexts) == 1:
            chosen = np.zeros(len(slots), np.int64)
            watched.append((slots.tolist(), watch(self.dreamer.model, contexts, [0])))
        else:
            chosen = slots
            for start in range(0, len(slots), RESET_BATCH):
                part = slots[start : start + RESET_BATCH].tolist()
                watched.append((part, watch(self.dreamer.model, contexts, part)))
        # Only now that all is watched does anything change.
        for part, memory in watched:
            self._remember(part, memory)
        own = beginning.context is not None
        self.spawn[slots] = -1 if own else chosen
        for i, spawn in zip(slots, chosen, strict=True):
            self.source[i] = None if own else contexts.sources[spawn]
        self.frames[slots] = contexts.frames[chosen, -1]
        self._tell_of(slots)
        self.elapsed[slots], self.ended[slots] = 0, False

    @isolated
    def imagine(
        self, actions: NDArray, going_on: NDArray[np.bool_], reward: str, steps: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Imagine one frame per slot.

        Args:
            actions: (N,) int64 or (N, dims) float32.
            going_on: (N,), False where the slot begins anew right after and draws nothing.
            reward: what is paid, one of `dreamenv.dream.vector_env.REWARDS`.
            steps: denoising passes, by default the checkpoint's.

        Returns:
            Rewards, and whether each episode terminates, (N,).
        """
        model = self.dreamer.model
        noise = np.zeros(model.noise_shape(len(self)), np.float32)
        chances = np.zeros(len(self), np.float32)
        drawing, drawn = np.flatnonzero(going_on).tolist(), noise[:, : self._draws]
        self._chance.draw(self.generators, drawing, drawn, chances if reward == "sampled" else None)
        frames, outcome, self._state = model.imagine(
            self._state,
            to_device(actions, model.device),
            to_device(noise, model.device),
            steps,
            reuse=True,
        )
        assert outcome.features is not None
        self._features = outcome.features.float()
        self._doubt, trust = self._judge(model, self._state, self._doubt)
        paid = self._pay(outcome, reward, chances)
        readings = [paid.float(), outcome.continuation.float(), self._doubt, trust]
        columns = [torch.stack(readings, 1), *[self._features] * self._shows_memory]
        self.frames, read, *memory = to_host(to_uint8(frames), *columns)
        if memory:
            self.memory = memory[0]
        rewards, continuation, self.uncertainty, self.trust = read.T.astype(np.float64)
        self.elapsed += 1
        return rewards, continuation < 0.5

    @isolated
    def capture(self) -> DreamState:
        """The present state, sharing no memory with these slots."""
        return DreamState(
            memory=self._state.clone(),
            features=self._features.clone(),
            uncertainty=self._doubt.clone(),
            frames=self.frames.copy(),
            elapsed=self.elapsed.copy(),
            ended=self.ended.copy(),
            spawns=self.spawn.copy(),
            sources=tuple(self.source),
            generators=tuple(
                dict(self._generator(i).bit_generator.state) for i in range(len(self))
            ),
            fingerprint=self.dreamer.fingerprint,
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
        theirs, own = str(state.fingerprint), self.dreamer.fingerprint
        if theirs != own:
            raise EnvironmentUsageError(
                f"this state was dreamt by other weights ({theirs[:12]}…) than those "
                f"in {self.dreamer.folder} ({own[:12]}…); make the "
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
        device = self.dreamer.model.device
        everywhere = torch.ones(len(self), dtype=torch.bool, device=device)
        # Merged, not assigned: copied, and cast to the precision of this environment.
        memory = self._state.merge(everywhere, state.memory.to(device))
        shown = state.features.to(device, torch.float32, copy=True)
        doubt = state.uncertainty.to(device, torch.float32, copy=True)
        trust = self._judge.of(doubt).cpu().numpy().astype(np.float64)
        # From here on nothing can fail: an error above has left all as it was.
        self._state, self._features, self._doubt, self.trust = memory, shown, doubt, trust
        self.frames = state.frames.copy()
        self.memory = shown.cpu().numpy()
        self.spawn, self.source[:] = state.spawns.copy(), state.sources
        self.uncertainty = doubt.cpu().numpy().astype(np.float64)
        self.elapsed, self.ended = state.elapsed.copy(), state.ended.copy()
        self.generators = list(generators)

    def _remember(self, slots: list[int], watched: Watched) -> None:
        """Replace what is remembered in `slots`, by one context for each or one for all."""
        memory, features = watched
        if len(features) < len(slots):
            memory, features = memory.select([0] * len(slots)), features[[0] * len(slots)]
        self._state = self._state.put(slots, memory)
        self._features[slots] = features

    def _tell_of(self, slots: NDArray) -> None:
        """Bring to the host what is shown and told of slots that have just begun."""
        doubt, trust = self._judge(self.dreamer.model, self._state)
        self._doubt[slots] = doubt[slots]
        self.uncertainty[slots] = doubt.cpu().numpy()[slots]
        self.trust[slots] = trust.cpu().numpy()[slots]
        if self._shows_memory:
            self.memory[slots] = self._features.cpu().numpy()[slots]

    def _pay(self, outcome: Outcome, reward: str, chances: NDArray[np.float32]) -> Tensor:
        """The reward of each slot, (N,); `chances` in [0, 1) decide sampled ones."""
        if reward == "likeliest":
            return outcome.reward
        probabilities = outcome.reward_probabilities
        values = constant(self.dreamer.model.config.rewards.values, probabilities)
        if reward == "expected":
            return (probabilities * values).sum(-1)
        chance = to_device(chances, probabilities.device).unsqueeze(-1)
        below = (probabilities.cumsum(-1) <= chance).sum(-1)
        return values[below.clamp(max=len(values) - 1)]

    def _generator(self, slot: int) -> np.random.Generator:
        generator = self.generators[slot]
        assert generator is not None
        return generator
