"""A world model whose frames count, and the same dream written down in a dozen plain lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.dream.spawns import Spawns
from dreamenv.dream.weights import Dreamer
from dreamenv.world_model.config import ActionConfig, DynamicsConfig, WorldModelConfig
from dreamenv.world_model.heads import Outcome
from dreamenv.world_model.state import State

ACTIONS, END = 4, 3  # the last action terminates the episode
SPAWNS, CONTEXT = 10, 5
SIZE = (16, 16)


class CountingModel:
    """Imagined frames show how many were imagined since the spawn, and which spawn it was."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.config = WorldModelConfig(
            frame_size=SIZE,
            actions=ActionConfig(n=ACTIONS),
            dynamics=DynamicsConfig(scan_blocks=((1, 1),)),
        )

    def initial_state(self, slots: int) -> State:
        return State([], torch.zeros(slots, 1, 1), torch.zeros(slots), torch.zeros(slots).long())

    def observe(self, state: State, frames: Tensor, actions: Tensor) -> tuple[State, None]:
        assert frames.shape[1] == actions.shape[1] == CONTEXT
        assert (state.frames == 0).all(), "watching begins from nothing"
        spawn = frames[:, -1, 0, 1, 0].float()
        return State([], spawn.view(-1, 1, 1), torch.ones(len(spawn)), state.frames + CONTEXT), None

    def imagine(
        self, state: State, action: Tensor, noise: Tensor, steps: int | None
    ) -> tuple[Tensor, Outcome, State]:
        state = State([], state.latents, state.level, state.frames + 1)
        frames = torch.zeros(state.slots, *SIZE, 3)
        frames[:, 0, 0, 0] = (state.frames - CONTEXT) / 255
        frames[:, 0, 1, 0] = state.latents[:, 0, 0] / 255
        reward, goes_on = action.float(), (action != END).float()
        return frames, Outcome(reward, torch.ones(len(reward), 1), goes_on), state

    def noise_shape(self, slots: int) -> tuple[int, int, int, int]:
        return slots, 2, 1, 3


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every dream be dreamt by the counting model."""
    frames = np.zeros((SPAWNS, CONTEXT, *SIZE, 3), np.uint8)
    frames[:, -1, 0, 1, 0] = np.arange(SPAWNS)
    spawns = Spawns(frames, np.zeros((SPAWNS, CONTEXT), np.int64), [{}] * SPAWNS)
    dreamer = Dreamer(CountingModel(), spawns, Path("nowhere"))  # type: ignore[arg-type]
    monkeypatch.setattr("dreamenv.dream.vector_env.load_dreamer", lambda *_: dreamer)


def shown(frame: np.ndarray) -> tuple[int, int]:
    """What a frame shows: imagined frames since the spawn, and the spawn."""
    return int(frame[0, 0, 0]), int(frame[0, 1, 0])


@dataclass
class PlainDream:
    """One slot, by the definitions: what `shown`, rewards and ends must be."""

    seed: int
    horizon: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.begin()

    def begin(self) -> tuple[int, int]:
        self.count, self.spawn = 0, int(self.rng.integers(SPAWNS))
        return self.count, self.spawn

    def step(self, action: int) -> tuple[tuple[int, int], float, bool, bool]:
        self.rng.standard_normal(6, dtype=np.float32)  # the frame's noise
        self.count += 1
        terminated = action == END
        truncated = self.count >= self.horizon and not terminated
        return (self.count, self.spawn), float(action), terminated, truncated
