"""Dreams of the ring that fail in one way each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.life.turns import Turn
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.state import State
from tests.evaluation.ring_env import PLACES, RingOracle, frame_of

FADING = 0.9
"""What is left of a fading dream's contrast after each step."""
ROUND = Turn(16, np.repeat([0, 1, 0, 2, 0], [4, 16, 4, 16, 4]))
"""Once round the ring, and twice, which ends where it began."""


class FadingRing(RingOracle):
    """Moves rightly, and fades to grey with every frame that it imagines."""

    def imagine(self, state: State, *rest: Any, **named: Any) -> tuple[Tensor, Outcome, State]:
        """A paler frame each time; `level` counts what is left."""
        left = torch.where(state.level > 0, state.level, 1.0) * FADING
        frames, outcome, now = super().imagine(state, *rest, **named)
        faded = 0.5 + (frames - 0.5) * left.view(-1, 1, 1, 1)
        return faded, outcome, State(now.layers, now.latents, left, now.frames)


class FrozenRing(RingOracle):
    """Shows the last watched frame for ever."""

    def imagine(
        self, state: State, action: Tensor, *rest: Any, **named: Any
    ) -> tuple[Tensor, Outcome, State]:
        """As if nobody moved."""
        return super().imagine(state, torch.zeros_like(action), *rest, **named)


class RememberingRing(RingOracle):
    """Keeps its place in its state-space memory; that of attention is there and never read."""

    def initial_state(self, slots: int) -> State:
        """At place 0."""
        empty = super().initial_state(slots)
        return State([_memory(torch.zeros(slots))], empty.latents, empty.level, empty.frames)

    def observe(self, state: State, *rest: Any) -> tuple[State, Outcome]:
        """See where the light is."""
        now, outcome = super().observe(state, *rest)
        return State([_memory(now.latents[:, 0, 0])], now.latents, now.level, now.frames), outcome

    def imagine(
        self, state: State, action: Tensor, *rest: Any, **named: Any
    ) -> tuple[Tensor, Outcome, State]:
        """Move on from the place that is remembered."""
        places = (state.layers[0]["ssm"][:, 0].long() + action) % PLACES
        frames = torch.from_numpy(np.stack([frame_of(int(p), 1) for p in places])) / 255
        now = State([_memory(places)], state.latents, state.level, state.frames + 1)
        return frames, self._outcome(places, action), now


def _memory(places: Tensor) -> dict[str, Tensor]:
    whole = places.float().unsqueeze(1)
    return {"ssm": whole.clone(), "keys": whole + 1, "values": whole + 2}


def ring_spawns(places: tuple[int, ...], length: int = 4) -> Spawns:
    """Spawns that end at `places`, standing still, each of an episode of its own."""
    frames = np.stack([np.stack([frame_of(place, 1)] * length) for place in places])
    actions = np.zeros((len(places), length), np.int64)
    actions[:, 0] = -1
    return Spawns(frames, actions, [{"seed": 100 + place} for place in places])
