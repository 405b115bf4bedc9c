"""`make demo`: train an agent inside a dream of Memory Maze, then score it in both worlds.

Some ten minutes on two cores. The agent, a small MLP on what the world model remembers, sees no
real maze until it is scored; beside it stands an agent that acts at random.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from dreamenv import AgentConfig, DreamEnvError, GapConfig, measure_gap, train_agent
from dreamenv.core.console import print_anywhere
from dreamenv.evaluation.gap.transfer import Contender

DREAM, REAL = "DreamEnv-MemoryMaze-v0", "MemoryMaze-9x9-v0"
RECIPE = {
    **{"n_steps": 24, "batch_size": 384, "n_epochs": 4, "learning_rate": 5e-4},
    **{"gamma": 0.95, "net_width": 256, "ent_coef": 0.01},
}
DREAMT = {
    **{"observation": "memory", "reward": "expected", "denoising_steps": 1},
    **{"near_rewards": 1.0, "horizon": 24},
}
"""As in `agents/ppo_memory_9x9.py`: short episodes that begin shortly before a reward."""


def main() -> int:
    """Train, score, report."""
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24_576, help="training steps in the dream")
    parser.add_argument("--spawns", type=int, default=16, help="places to play both worlds from")
    parser.add_argument("--horizon", type=int, default=64, help="steps of such an episode")
    parser.add_argument("--episodes", type=int, default=8, help="whole real episodes")
    parser.add_argument("--real-horizon", type=int, default=1000, help="steps of such an episode")
    parser.add_argument("--out", default="runs/demo")
    args = parser.parse_args()
    out = Path(args.out)
    shutil.rmtree(out / "agent", ignore_errors=True)  # the demo always trains afresh
    try:
        print(f"1/2 train PPO for {args.steps:,} steps inside {DREAM}")
        agent = train_agent(
            AgentConfig(
                env=DREAM,
                env_kwargs=DREAMT,
                only_memory=True,
                hyperparameters=RECIPE,
                num_envs=64,
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
            dream_kwargs={"reward": "expected"},
            spawns=args.spawns,
            horizon=args.horizon,
            clip_horizon=min(GapConfig.clip_horizon, args.horizon),
            workers=2,
            transfer=(Contender("trained", str(agent)), Contender("random", "random")),
            transfer_real=(REAL,),
            real_episodes=args.episodes,
            real_horizon=args.real_horizon,
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
