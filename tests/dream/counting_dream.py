"""A world model whose frames count, and the same dream written down in a dozen plain lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.dream.spawns import Spawns
from dreamenv.dream.start_states import StartStates
from dreamenv.world_model.config import ActionConfig, DynamicsConfig, RewardConfig, WorldModelConfig
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.state import State

ACTIONS, END = 4, 3  # the last action terminates the episode
SPAWNS, CONTEXT = 10, 5
SIZE = (16, 16)
SURE = 0.75
"""Probability of the likeliest reward, which is the action; else the action after it is paid."""


class CountingModel:
    """Imagined frames show how many were imagined since the spawn, and which spawn it was.

    So do features, which show how long the context was as well.
    """

    feature_size = 3

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.config = WorldModelConfig(
            frame_size=SIZE,
            actions=ActionConfig(n=ACTIONS),
            rewards=RewardConfig(tuple(map(float, range(ACTIONS)))),
            dynamics=DynamicsConfig(scan_blocks=((1, 1),)),
        )

    def initial_state(self, slots: int) -> State:
        return State([], torch.zeros(slots, 1, 2), torch.zeros(slots), torch.zeros(slots).long())

    def observe(self, state: State, frames: Tensor, actions: Tensor) -> tuple[State, Outcome]:
        assert frames.shape[:2] == actions.shape[:2] and (actions[:, 0] == -1).all()
        assert (state.frames == 0).all(), "watching begins from nothing"
        spawn = frames[:, -1, 0, 1, 0].float()
        latents = torch.stack([torch.zeros_like(spawn), spawn], -1).unsqueeze(1)
        state = State([], latents, torch.ones(len(spawn)), state.frames + frames.shape[1])
        return state, _outcome(state, actions[:, -1])[:, None]

    def imagine(
        self, state: State, action: Tensor, noise: Tensor, steps: int | None, reuse: bool = False
    ) -> tuple[Tensor, Outcome, State]:
        latents = state.latents + torch.tensor([1.0, 0.0])
        state = State([], latents, state.level, state.frames + 1)
        frames = torch.zeros(state.slots, *SIZE, 3)
        frames[:, 0, :2, 0] = latents[:, 0] / 255
        return frames, _outcome(state, action), state

    def noise_shape(self, slots: int) -> tuple[int, int, int, int]:
        return slots, 2, 1, 3


def _outcome(state: State, action: Tensor) -> Outcome:
    probabilities = torch.zeros(len(action), ACTIONS)
    probabilities.scatter_(1, action.clamp(min=0).unsqueeze(1), SURE)
    probabilities.scatter_(1, (action.unsqueeze(1) + 1) % ACTIONS, 1 - SURE)
    features = torch.cat([state.latents[:, 0], state.frames.unsqueeze(1).float()], 1)
    return Outcome(action.float(), probabilities, (action != END).float(), features)


class CountingTrust:
    """Loses a tenth of its trust with every imagined frame."""

    calibrated = True

    def require(self) -> None:
        pass

    def __call__(
        self, model: CountingModel, state: State, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        count = state.latents[:, 0, 0]
        assert before is None or torch.equal(before, count - 1)
        return count, self.of(count)

    def of(self, uncertainty: Tensor) -> Tensor:
        return 1 - uncertainty / 10


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every dream be dreamt by the counting model."""
    frames = np.zeros((SPAWNS, CONTEXT, *SIZE, 3), np.uint8)
    frames[:, -1, 0, 1, 0] = np.arange(SPAWNS)
    actions = np.zeros((SPAWNS, CONTEXT), np.int64)
    actions[:, 0] = -1
    spawns = Spawns(frames, actions, [{"seed": 100 + i} for i in range(SPAWNS)])
    model = CountingModel()
    loaded = SimpleNamespace(
        model=model,
        spawns=spawns,
        start_states=StartStates(model, spawns),  # type: ignore[arg-type]
        folder=Path("nowhere"),
        fingerprint="counting",
        env_id="Counting-v0",
        trust=lambda steps: CountingTrust(),
    )
    monkeypatch.setattr("dreamenv.dream.vector_env.load_for_dreaming", lambda *_: loaded)


def shown(frame: np.ndarray) -> tuple[int, int]:
    """What a frame shows: imagined frames since the spawn, and the spawn."""
    return int(frame[0, 0, 0]), int(frame[0, 1, 0])


@dataclass
class PlainDream:
    """One slot, by the definitions: what `shown`, rewards and ends must be."""

    seed: int
    horizon: int
    reward: str = "likeliest"

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.begin()

    def begin(self) -> tuple[int, int]:
        self.count, self.spawn = 0, int(self.rng.integers(SPAWNS))
        return self.count, self.spawn

    def step(self, action: int) -> tuple[tuple[int, int], float, bool, bool]:
        self.rng.standard_normal(3, dtype=np.float32)  # the frame's noise
        self.count += 1
        terminated = action == END
        truncated = self.count >= self.horizon and not terminated
        return (self.count, self.spawn), self.pay(action), terminated, truncated

    def pay(self, action: int) -> float:
        if self.reward == "likeliest":
            return float(action)
        other = (action + 1) % ACTIONS
        if self.reward == "expected":
            return SURE * action + (1 - SURE) * other
        values = sorted([(action, SURE), (other, 1 - SURE)])
        first_probability = values[0][1]
        return float(values[self.rng.random(dtype=np.float32) >= first_probability][0])
