"""Train a PPO or RecurrentPPO agent on any Gymnasium id: the same as `dreamenv train-agent`.

    python train_agent.py --env DreamEnv-MemoryMaze-v0 --steps 100000 --out runs/ppo

Every field of `dreamenv.AgentConfig` is an option.
"""

from __future__ import annotations

import sys

from dreamenv.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-agent", *sys.argv[1:]]))
