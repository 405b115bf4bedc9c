"""Train a PPO or RecurrentPPO agent on any Gymnasium id, dreamt or real.

python train_agent.py --algo ppo --env DreamEnv-MemoryMaze-v0 --steps 100000 --out runs/ppo
"""

from __future__ import annotations

import argparse
import sys

from dreamenv import agents
from dreamenv.agents.config import add_arguments, config_from_arguments
from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError


def main(arguments: list[str] | None = None) -> int:
    """Train; a user's mistake prints one clear line and returns 2."""
    print_anywhere()
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_arguments(parser)
    try:
        config = config_from_arguments(parser.parse_args(arguments))
        path = agents.train(config)
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume continues it", file=sys.stderr)
        return 130
    print(f"saved {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
