"""An environment whose frame shows its state, and a perfect model of it.

A column of light goes round a ring of 16 places. The action is how far it moves; arriving at
place 0 pays 1. A frame tells its place, so any misplaced frame, action or reward is visible.
"""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from dreamenv.world_model.config import RewardConfig
from dreamenv.world_model.heads import Outcome

PLACES, PIXELS = 16, 2  # the environment's frames are twice as large as the model's


def frame_of(place: int, pixels: int = PIXELS) -> np.ndarray:
    """Frame of a place, (16 · pixels, 16 · pixels, 3) uint8: black with a white column."""
    frame = np.zeros((PLACES * pixels, PLACES * pixels, 3), np.uint8)
    frame[:, place * pixels : (place + 1) * pixels] = 255
    return frame


def place_of(frame: np.ndarray) -> int:
    """The place that a frame of any size shows."""
    return int(frame[0, :, 0].argmax()) * PLACES // frame.shape[1]


def reward_of(place: int, action: int) -> float:
    """What arriving at `place` by `action` pays."""
    return float(action > 0 and place == 0)


class RingEnv(gymnasium.Env):
    """Starts at a place drawn from the seed; terminates after `length` steps, if given."""

    metadata = {"render_modes": []}

    def __init__(
        self,
        length: int | None = None,
        actions: int = 3,
        nan_at: int = -1,
        dies_at: int = -1,
    ) -> None:
        self.observation_space = Box(0, 255, frame_of(0).shape, np.uint8)
        self.action_space = Discrete(actions)
        self.length, self.nan_at, self.dies_at = length, nan_at, dies_at

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at a random place."""
        super().reset(seed=seed)
        self.place, self.count = int(self.np_random.integers(PLACES)), 0
        return frame_of(self.place), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move on."""
        self.count += 1
        if self.count == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.place = (self.place + int(action)) % PLACES
        reward = float("nan") if self.count == self.nan_at else reward_of(self.place, int(action))
        return frame_of(self.place), reward, self.count == self.length, False, {}


class RingOracle:
    """Knows the ring: the world model's verbs without a network."""

    device = torch.device("cpu")
    config = SimpleNamespace(
        rewards=RewardConfig((0.0, 1.0)), frame_size=(PLACES, PLACES), grid=(1, 1)
    )
    tokenizer = SimpleNamespace(encode=lambda frames: frames, decode=lambda latents, grid: latents)

    def autocast(self) -> torch.autocast:
        """Changes nothing."""
        return torch.autocast("cpu", enabled=False)

    def initial_state(self, slots: int) -> SimpleNamespace:
        """Nowhere."""
        return SimpleNamespace(latents=torch.zeros(1), places=[None] * slots)

    def noise_shape(self, slots: int) -> tuple[int]:
        """One number is drawn and ignored."""
        return (1,)

    def observe(
        self, state: SimpleNamespace, frames: Tensor, actions: Tensor
    ) -> tuple[SimpleNamespace, Outcome]:
        """See where the light is."""
        places = [[place_of(frame) for frame in clip] for clip in frames.numpy()]
        now = SimpleNamespace(latents=state.latents, places=[clip[-1] for clip in places])
        return now, _outcome(torch.tensor(places), actions)

    def imagine(
        self, state: SimpleNamespace, action: Tensor, noise: Tensor, steps: int | None
    ) -> tuple[Tensor, Outcome, SimpleNamespace]:
        """Move the light."""
        places = [(p + int(a)) % PLACES for p, a in zip(state.places, action, strict=True)]
        frames = torch.from_numpy(np.stack([frame_of(place, 1) for place in places])) / 255
        now = SimpleNamespace(latents=state.latents, places=places)
        return frames, _outcome(torch.tensor(places), action), now


def _outcome(places: Tensor, actions: Tensor) -> Outcome:
    pays = ((places == 0) & (actions > 0)).double()
    return Outcome(pays, torch.stack([1 - pays, pays], -1), torch.ones_like(pays))


gymnasium.register("Ring-v0", entry_point="tests.evaluation.ring_env:RingEnv")
gymnasium.register(
    "ShortRing-v0", entry_point="tests.evaluation.ring_env:RingEnv", max_episode_steps=20
)
