"""PPO on what the world model remembers of the real 9x9 maze, which it watches: no dream.

    python agents/ppo_memory_real.py --out runs/ppo_memory_real
    python agents/ppo_memory_real.py --env MemoryMaze-7x7-v0 --out runs/ppo_memory_real_7x7

The agent that `ppo_memory_9x9.py` is compared with: the same network, observation and time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv import AgentConfig
from dreamenv.cli.train_agent import train_recipe

RECIPE = AgentConfig(
    env="MemoryMaze-9x9-v0",
    memory_from="bundled:memory_maze_9x9",
    only_memory=True,
    out=Path("runs/ppo_memory_real"),
    steps=400_000,
    num_envs=8,
    hyperparameters={
        "n_steps": 256,
        "batch_size": 512,
        "learning_rate": 3e-4,
        "gamma": 0.97,
        "net_width": 256,
        "ent_coef": 0.02,
    },
    eval_every=0,
    save_every=4000,
    keep_every=20_000,
    threads=1,
)

if __name__ == "__main__":
    sys.exit(train_recipe(RECIPE, __file__, __doc__))
