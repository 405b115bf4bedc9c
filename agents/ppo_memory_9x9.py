"""PPO on what the world model remembers, trained inside its dream of the 9x9 maze.

    python agents/ppo_memory_9x9.py --out runs/ppo_memory_9x9

Five to six minutes on one core (AMD EPYC, five seeds: docs/results/gap/gap.json) make the 50,000
steps; it never sees the real maze. Rewards are rare there and in the dream alike, so its episodes
are short and begin shortly before one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv import AgentConfig
from dreamenv.cli.train_agent import train_recipe

RECIPE = AgentConfig(
    env="DreamEnv-MemoryMaze-v0",
    env_kwargs={
        "observation": "memory",
        "reward": "expected",  # less noisy than what is likeliest, or drawn
        "near_rewards": 1.0,
        "horizon": 24,
        # The average of what may come, in two thirds of the time of two passes.
        "denoising_steps": 1,
    },
    only_memory=True,
    out=Path("runs/ppo_memory_9x9"),
    steps=50_000,
    num_envs=64,
    hyperparameters={
        "n_steps": 24,
        "batch_size": 384,
        "n_epochs": 4,
        "learning_rate": 5e-4,
        "gamma": 0.95,
        "net_width": 256,
        "ent_coef": 0.01,
    },
    eval_every=0,
    save_every=4000,
    keep_every=10_000,
    threads=1,
)

if __name__ == "__main__":
    sys.exit(train_recipe(RECIPE, __file__, __doc__))
