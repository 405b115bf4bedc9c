"""An environment whose frame shows its state, and a perfect model of it.

A column of light goes round a ring of 16 places. The action is how far it moves; arriving at
place 0 pays 1. A frame tells its place, so any misplaced frame, action or reward is visible.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from dreamenv.agents import finding
from dreamenv.agents import loading as agents
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.start_states import StartStates
from dreamenv.dream.trust import Trust
from dreamenv.world_model.config import ActionConfig, DynamicsConfig, RewardConfig, WorldModelConfig
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.state import State

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


class SavingRingEnv(RingEnv):
    """Goes back to a snapshot, and counts its resets."""

    resets = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin, and count."""
        SavingRingEnv.resets += 1
        return super().reset(seed=seed, options=options)

    def get_state(self) -> tuple[int, int]:
        """Where the light is, and since when."""
        return self.place, self.count

    def set_state(self, state: tuple[int, int]) -> None:
        """Put it back."""
        self.place, self.count = state


class RingOracle:
    """Knows the ring: the world model's verbs without a network. Its memory is a place.

    Args:
        pays: places at which it believes in a reward.
    """

    device = torch.device("cpu")
    compute_dtype = torch.float32
    feature_size = 1
    config = WorldModelConfig(
        frame_size=(PLACES, PLACES),
        actions=ActionConfig(n=3),
        rewards=RewardConfig((0.0, 1.0)),
        dynamics=DynamicsConfig(scan_blocks=((1, 1),)),
    )
    tokenizer = SimpleNamespace(encode=lambda frames: frames, decode=lambda latents, grid: latents)

    def __init__(self, pays: tuple[int, ...] = (0,)) -> None:
        self.pays = torch.tensor(pays)

    def autocast(self) -> torch.autocast:
        """Changes nothing."""
        return torch.autocast("cpu", enabled=False)

    def initial_state(self, slots: int) -> State:
        """Nowhere."""
        return State([], torch.zeros(slots, 1, 1), torch.zeros(slots), torch.zeros(slots).long())

    def noise_shape(self, slots: int) -> tuple[int, int]:
        """One number is drawn for each slot and ignored."""
        return slots, 1

    def observe(self, state: State, frames: Tensor, actions: Tensor) -> tuple[State, Outcome]:
        """See where the light is."""
        places = torch.tensor([[place_of(frame) for frame in clip] for clip in frames.numpy()])
        now = State([], places[:, -1].view(-1, 1, 1).float(), state.level, state.frames + 1)
        return now, self._outcome(places, actions)

    def imagine(
        self,
        state: State,
        action: Tensor,
        noise: Tensor,
        steps: int | None = None,
        reuse: bool = False,
    ) -> tuple[Tensor, Outcome, State]:
        """Move the light."""
        places = (state.latents[:, 0, 0].long() + action) % PLACES
        frames = torch.from_numpy(np.stack([frame_of(int(p), 1) for p in places])) / 255
        now = State([], places.view(-1, 1, 1).float(), state.level, state.frames + 1)
        return frames, self._outcome(places, action), now

    def _outcome(self, places: Tensor, actions: Tensor) -> Outcome:
        pays = (torch.isin(places, self.pays) & (actions > 0)).double()
        features = places.unsqueeze(-1).float()
        return Outcome(pays, torch.stack([1 - pays, pays], -1), torch.ones_like(pays), features)


class NoTrust(Trust):
    """Nothing was calibrated."""

    def __call__(self, model: Any, state: State, before: Any = None) -> tuple[Tensor, Tensor]:
        """Neither uncertainty nor trust."""
        unknown = torch.full((state.slots,), torch.nan)
        return unknown, unknown


def dream_of_the_ring(
    monkeypatch: pytest.MonkeyPatch, spawns: Spawns, pays: tuple[int, ...] = (0,)
) -> None:
    """Let every dream of "bundled:ring" be dreamt by an oracle that pays at some places."""
    model = RingOracle(pays)
    loaded = SimpleNamespace(
        model=model,
        spawns=spawns,
        start_states=StartStates(model, spawns),  # type: ignore[arg-type]
        folder=Path("nowhere"),
        fingerprint=f"ring that pays at {pays}",
        env_id="Ring-v0",
        env_kwargs={},
        trust=lambda steps: NoTrust(missing="the ring was not calibrated"),
    )
    for module in ("dream.vector_env", "evaluation.gap.starts"):
        monkeypatch.setattr(f"dreamenv.{module}.load_for_dreaming", lambda *_: loaded)


class Walker:
    """Knows by the place what to do, and by nothing else: "walker:12" moves by 1 from even places
    and by 2 from odd ones."""

    observation = "frame"

    def __init__(self, name: str) -> None:
        self.name = name
        self.moves = [int(move) for move in name.partition(":")[2]]

    def reset(self, seed: int | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: np.ndarray, episode_start: np.ndarray) -> np.ndarray:
        """(N,) moves."""
        return np.array([self.moves[place_of(frame) % 2] for frame in observation], np.int64)


def add_walkers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let agents be given as "walker:12"."""
    scripted = agents._scripted
    monkeypatch.setattr(finding, "SCRIPTED", (*finding.SCRIPTED, "walker"))
    monkeypatch.setattr(
        agents,
        "_scripted",
        lambda spec, *rest: Walker(spec) if spec[:6] == "walker" else scripted(spec, *rest),
    )


gymnasium.register("Ring-v0", entry_point="tests.evaluation.ring_env:RingEnv")
gymnasium.register("SavingRing-v0", entry_point="tests.evaluation.ring_env:SavingRingEnv")
gymnasium.register(
    "ShortRing-v0", entry_point="tests.evaluation.ring_env:RingEnv", max_episode_steps=20
)
