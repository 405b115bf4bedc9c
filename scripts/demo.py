"""`make demo`: train an agent inside a dream of Memory Maze, then score it in both worlds.

A few minutes on two cores. The agent, a small MLP on what the world model remembers, sees no real
maze until it is scored; beside it stands an agent that acts at random. Forty thousand steps are
enough to see every part work and too few to master the maze: the table says how far they reach.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from dreamenv import AgentConfig, DreamEnvError, GapConfig, measure_gap, train_agent
from dreamenv.core.console import print_anywhere

DREAM, REAL = "DreamEnv-MemoryMaze-v0", "MemoryMaze-9x9-v0"
RECIPE = {"n_steps": 64, "batch_size": 512, "learning_rate": 3e-4, "gamma": 0.97, "net_width": 256}


def main() -> int:
    """Train, score, report."""
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40_960, help="training steps in the dream")
    parser.add_argument("--spawns", type=int, default=32, help="episodes on each side")
    parser.add_argument("--horizon", type=int, default=64, help="steps of a scored episode")
    parser.add_argument("--out", default="runs/demo")
    args = parser.parse_args()
    out = Path(args.out)
    # Paid what the model expects: it seldom thinks a reward likelier than none.
    paid = {"reward": "expected"}
    shutil.rmtree(out / "agent", ignore_errors=True)  # the demo always trains afresh
    try:
        print(f"1/2 train PPO for {args.steps:,} steps inside {DREAM}")
        agent = train_agent(
            AgentConfig(
                env=DREAM,
                env_kwargs={"observation": "memory", **paid},
                only_memory=True,
                hyperparameters=RECIPE,
                num_envs=32,
                steps=args.steps,
                eval_every=0,
                out=out / "agent",
            )
        )
        print(f"2/2 score it, and an agent that acts at random, in {DREAM} and in {REAL}")
        config = GapConfig(
            agents=(str(agent), "random"),
            real=REAL,
            dream=DREAM,
            dream_kwargs=paid,
            spawns=args.spawns,
            horizon=args.horizon,
            clip_horizon=min(GapConfig.clip_horizon, args.horizon),
            workers=2,
        )
        report = measure_gap(config, out / "episodes")
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data, page = report.save(out, "make demo")
    print(f"\n{report.summary()}\n\npage:    {page}\nnumbers: {data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
