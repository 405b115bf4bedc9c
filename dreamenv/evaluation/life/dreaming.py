"""Dreams that go on step by step, in memory that does not grow, and what they may forget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.preprocessing import to_uint8
from dreamenv.world_model.state import State

BATCH = 16
"""Dreams stepped at once; none depends on the others, but by rounding."""
EVERYTHING = "everything"
KINDS = {"state space": ("ssm",), "attention": ("keys", "values")}
"""Kind of memory → the tensors of a layer that hold it."""
LANDMARKS = "landmarks"
"""The views kept by their poses; where it stands the dreamer still knows."""


class Dream:
    """Several dreams of one model, each with noise of its own.

    Args:
        model: the world model.
        state: memory of b slots; given up.
        seeds: of each slot's noise.
        passes: denoising passes per frame; None takes the checkpoint's.
    """

    def __init__(
        self,
        model: WorldModel,
        state: State,
        seeds: Sequence[Sequence[int]],
        passes: int | None = None,
    ) -> None:
        self.model, self.state, self.passes = model, state, passes
        self._noise = [
            torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            for seed in seeds
        ]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, Outcome]:
        """Imagine what actions (b, …) lead to: frames (b, H, W, C) uint8, and their outcome."""
        model = self.model
        noise = torch.cat([torch.randn(model.noise_shape(1), generator=g) for g in self._noise])
        frames, outcome, self.state = model.imagine(
            self.state,
            torch.from_numpy(np.ascontiguousarray(actions)).to(model.device),
            noise.to(model.device),
            self.passes,
            reuse=True,
        )
        return to_uint8(frames.float()).cpu().numpy(), outcome

    def run(self, actions: np.ndarray) -> np.ndarray:
        """Imagine under actions (b, t, …); frames (b, t, H, W, C) uint8."""
        return np.stack([self.step(actions[:, t])[0] for t in range(actions.shape[1])], 1)


def forgotten(model: WorldModel, state: State, kind: str) -> State:
    """The same memory with one kind of it set to zero; `EVERYTHING`: as before the first frame."""
    if kind == EVERYTHING:
        return model.initial_state(state.slots)
    if kind == LANDMARKS:
        places = {name: x if name in ("pose", "motion") else torch.zeros_like(x)
                  for name, x in state.landmarks.items()}  # fmt: skip
        return dataclasses.replace(state, landmarks=places)
    layers = [
        {name: torch.zeros_like(x) if name in KINDS[kind] else x for name, x in layer.items()}
        for layer in state.layers
    ]
    return dataclasses.replace(state, layers=layers)


def kinds_of(state: State) -> list[str]:
    """What a memory can forget: everything, and each kind that it has."""
    names = {name for layer in state.layers for name in layer}
    kinds = [EVERYTHING, *(kind for kind, parts in KINDS.items() if names & set(parts))]
    return [*kinds, LANDMARKS] if state.landmarks else kinds
