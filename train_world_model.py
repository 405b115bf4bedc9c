"""Train a world model on recorded rollouts; run the same command again to resume.

    python train_world_model.py --data rollouts/train --held-out rollouts/held_out --out runs/maze

Every field of `TrainConfig` is an option; nested ones are written with a dot, such as
`--dynamics.steps 20000` or `--objective.scheme diffusion_forcing`.
"""

from __future__ import annotations

import sys

from dreamenv.cli.config_options import parse_config
from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError
from dreamenv.dream.spawns import save_spawns, spawn_length
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train


def main() -> int:
    """Parse, train, and store the starting points of episodes beside the weights."""
    print_anywhere()
    try:
        config = parse_config(TrainConfig, __doc__ or "")
        folder = train(config)
        length = spawn_length(RolloutStore(config.held_out), config.spawn_frames, config.stride)
        save_spawns(folder, config.held_out, config.spawns, length)
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped and saved; run the same command again to continue", file=sys.stderr)
        return 130
    print(f"the world model is in {folder}; dream it with DreamEnv(checkpoint={str(folder)!r})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
