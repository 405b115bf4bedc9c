"""Where a dream believes it is, and which landmarks it looks at, of models that have a pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dreamenv.dream.belief import belief_of
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.landmark_config import LandmarkConfig
from tests.world_model.models import random_actions, random_frames, tiny_config, tiny_model

MEMORY = LandmarkConfig(count=5, nearest=2, spacing=0.4, layers=(0, 1), tracker_width=6)


def test_a_model_with_landmarks_tells_its_pose_and_the_nearest_of_them_that_are_old() -> None:
    model = tiny_model(tiny_config({"landmarks": MEMORY}), 0)
    frames = random_frames(model.config, 2, 4, 0)
    actions = random_actions(2, 4, 0).clamp(min=0)
    actions[:, 0] = -1
    state, _ = model.observe(model.initial_state(2), frames, actions)
    memory = state.landmarks
    memory["pose"][:] = torch.tensor([1.0, 2.0, 0.5])
    memory["poses"][:] = torch.arange(5)[None, :, None] * torch.ones(3)
    memory["age"][:] = torch.tensor([100.0, 100, 100, 0, 0])
    memory["age"][1, 1] = 1  # too young: attention sees it anyway
    belief = belief_of(model, state)
    assert belief is not None
    np.testing.assert_allclose(belief.pose[0], [1, 2, 0.5])
    assert belief.held.all()
    assert sorted(belief.landmarks[0, :, 0].tolist()) in ([0, 1], [1, 2])
    assert sorted(belief.landmarks[1, :, 0].tolist()) == [0, 2]
    memory["age"][:] = 0
    empty = belief_of(model, state)
    assert empty is not None and not empty.held.any()


def test_a_model_without_landmarks_believes_nothing(debug_checkpoint: Path) -> None:
    env = DreamVectorEnv(1, debug_checkpoint)
    env.reset(seed=0)
    assert env.belief() is None
