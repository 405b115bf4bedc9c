"""`dreamenv train`: train a world model on rollouts; the same command goes on where it stopped."""

from __future__ import annotations

import sys

from dreamenv.cli import INTERRUPTED
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train_world_model

Options = TrainConfig


def run(options: TrainConfig) -> int:
    """Train, and store the places where episodes begin beside the weights."""
    try:
        folder = train_world_model(options)
    except KeyboardInterrupt:
        print("stopped and saved; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    print(f"the world model is in {folder}; dream it with DreamEnv(checkpoint={str(folder)!r})")
    return 0
