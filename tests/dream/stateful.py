"""A dream whose state has every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from dreamenv.dream.vector_env import DreamVectorEnv
from tests.dream.counting_dream import ACTIONS

SLOTS, HORIZON = 3, 4
ACTIONS_TAKEN = np.random.default_rng(1).integers(0, ACTIONS, (6, SLOTS))


def begin(
    checkpoint: Path, mode: AutoresetMode | str = "SameStep", **kwargs: Any
) -> DreamVectorEnv:
    """A dream whose state has every part: memory shown, rewards drawn, slots of several ages."""
    arguments: dict[str, Any] = {"observation": "memory", "reward": "sampled"} | kwargs
    env = DreamVectorEnv(SLOTS, checkpoint, HORIZON, 1, mode, **arguments)
    env.reset(seed=0)
    env.step(np.zeros(SLOTS, np.int64))
    env.reset(options={"reset_mask": np.array([False, True, False]), "spawn": 2})
    env.step(np.ones(SLOTS, np.int64))
    return env
