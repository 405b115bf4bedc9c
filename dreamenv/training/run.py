"""`train_world_model`: from rollouts to a checkpoint that dreams."""

from __future__ import annotations

from pathlib import Path

from dreamenv.dream.spawns import save_spawns, spawn_length
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train


def train_world_model(config: TrainConfig) -> Path:
    """Train, or go on training, and store the places where episodes begin beside the weights.

    Returns:
        The checkpoint folder, `config.out`, which `DreamEnv(checkpoint=...)` dreams.

    Raises:
        RolloutError: the stores are absent, of different environments, or too short.
        ConfigError: the run folder was begun with another environment, preset or seed.
        CheckpointError: what stands in the run folder is damaged.
        FolderInUseError: another run is at work in the run folder.
        DreamEnvError: the disk is full or cannot be written.
    """
    folder = train(config)
    length = spawn_length(RolloutStore(config.held_out), config.spawn_frames, config.stride)
    save_spawns(folder, config.held_out, config.spawns, length)
    return folder
