"""`Belief`: where a dream believes it is, and which landmarks it looks at, for maps of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.landmarks import LandmarkMemory, nearest
from dreamenv.world_model.state import State


@dataclass(frozen=True)
class Belief:
    """Of N dreams, in the units of positions that the model learned from, from where each began."""

    pose: NDArray[np.float32]
    """(N, 3): x, y and heading, in radians."""
    landmarks: NDArray[np.float32]
    """(N, k, 3): poses of those that the present place is drawn from, nearest first."""
    held: NDArray[np.bool_]
    """(N, k): whether there is one."""


@isolated
def belief_of(model: WorldModel, state: State) -> Belief | None:
    """What a memory believes; None where the model has no landmarks, and so no pose of its own.

    Args:
        model: the world model.
        state: its memory, of N slots.
    """
    landmarks = getattr(model.dynamics, "landmarks", None)
    if not isinstance(landmarks, LandmarkMemory):
        return None
    pose, poses, age = (state.landmarks[name] for name in ("pose", "poses", "age"))
    index, held = nearest(pose, poses, age, landmarks.config, landmarks.recent)
    seen = poses.gather(1, index[..., None].expand(-1, -1, 3))
    host = (pose.float().cpu().numpy(), seen.float().cpu().numpy(), held.cpu().numpy())
    return Belief(*host)
