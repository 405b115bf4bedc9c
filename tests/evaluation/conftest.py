"""A small store of ring episodes and an untrained model of the ring, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dreamenv.dream.spawn_drawing import save_spawns
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.world_model.checkpoint import save_world_model
from dreamenv.world_model.config import (
    ActionConfig,
    DynamicsConfig,
    TokenizerConfig,
    WorldModelConfig,
)
from dreamenv.world_model.model import WorldModel
from tests.evaluation.ring_env import RingEnv

EPISODES, STEPS = 3, 70


@pytest.fixture(scope="session")
def ring_rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 70 random steps."""
    path = tmp_path_factory.mktemp("ring") / "rollouts"
    env, policy = RingEnv(), make_policy("uniform")
    with RolloutWriter(path, "Ring-v0", env.observation_space, env.action_space) as writer:
        for seed in range(EPISODES):
            writer.append(record_episode(env, policy, seed, seed, STEPS))
    return path


@pytest.fixture(scope="session")
def ring_checkpoint(tmp_path_factory: pytest.TempPathFactory, ring_rollouts: Path) -> Path:
    """An untrained model of one token per frame, with spawns."""
    folder = tmp_path_factory.mktemp("ring") / "checkpoint"
    torch.manual_seed(0)
    model = WorldModel(
        WorldModelConfig(
            frame_size=(16, 16),
            actions=ActionConfig(n=3),
            tokenizer=TokenizerConfig(widths=(8, 8, 16), blocks=(0, 0, 1), latent_channels=4),
            dynamics=DynamicsConfig(
                width=16,
                scan_blocks=((1, 1), (1, 1)),
                attention_head_dim=8,
                condition_width=8,
                ssm_head_dim=8,
                ssm_state_dim=8,
            ),
        )
    )
    # Its dreams go on for ever and pay at every step, whatever happens in them.
    model.head.reward.bias.data.copy_(torch.tensor([0.0, 5.0]))
    model.head.continuation.bias.data.fill_(5.0)
    save_world_model(folder, model, {"env_id": "Ring-v0"})
    save_spawns(folder, ring_rollouts, count=4, length=8)
    return folder
