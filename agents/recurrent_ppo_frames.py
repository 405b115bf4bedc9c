"""RecurrentPPO on the dream's frames alone: it has to remember by itself.

    python agents/recurrent_ppo_frames.py --out runs/recurrent_ppo_frames

Twelve minutes on one core make about 20,000 steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv import AgentConfig
from dreamenv.cli.train_agent import train_recipe

RECIPE = AgentConfig(
    env="DreamEnv-MemoryMaze-v0",
    env_kwargs={"reward": "expected"},
    algo="recurrent_ppo",
    out=Path("runs/recurrent_ppo_frames"),
    steps=400_000,
    num_envs=16,
    hyperparameters={"gamma": 0.97, "ent_coef": 0.02},
    eval_every=0,
    save_every=4000,
    keep_every=20_000,
    threads=1,
)

if __name__ == "__main__":
    sys.exit(train_recipe(RECIPE, __file__, __doc__))
