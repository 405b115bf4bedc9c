"""PPO on what the world model remembers, trained inside its dream of the 9x9 maze.

    python agents/ppo_memory_9x9.py --out runs/ppo_memory_9x9

A quarter of an hour on one core makes about 100,000 steps; it never sees the real maze.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv import AgentConfig
from dreamenv.cli.train_agent import train_recipe

RECIPE = AgentConfig(
    env="DreamEnv-MemoryMaze-v0",
    # Paid what the model expects: it seldom thinks a reward likelier than none.
    env_kwargs={"observation": "memory", "reward": "expected"},
    only_memory=True,
    out=Path("runs/ppo_memory_9x9"),
    steps=400_000,
    num_envs=32,
    hyperparameters={
        "n_steps": 64,
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
