"""`make demo`: train an agent inside a dream of Memory Maze, then score it in both worlds.

A few minutes on two cores. The agent sees no real maze until it is scored; beside it stands an
agent that acts at random. Twenty thousand steps are enough to see every part work and too few to
master the maze: the table says how far they reach.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `agents`, which is not installed

from agents import AgentConfig, train
from dreamenv.errors import DreamEnvError
from dreamenv.evaluation.gap import measure_gap
from dreamenv.evaluation.report import gap_table, write_reports

DREAM, REAL = "DreamEnv-MemoryMaze-v0", "MemoryMaze-9x9-v0"


def main() -> int:
    """Train, score, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_480, help="training steps in the dream")
    parser.add_argument("--episodes", type=int, default=32, help="scored on each side")
    parser.add_argument("--horizon", type=int, default=64, help="steps of a scored episode")
    parser.add_argument("--out", default="runs/demo")
    args = parser.parse_args()
    out = Path(args.out)
    shutil.rmtree(out / "agent", ignore_errors=True)  # the demo always trains afresh
    try:
        print(f"1/3 train PPO for {args.steps:,} steps inside {DREAM}")
        agent = train(AgentConfig(env=DREAM, out=out / "agent", steps=args.steps, eval_every=0))
        reports = []
        for number, who in enumerate((agent, "random"), 2):
            print(f"{number}/3 score {who} in {DREAM} and in {REAL}")
            reports.append(
                measure_gap(
                    who, DREAM, REAL, args.episodes, args.horizon, clips=args.episodes, workers=2
                )
            )
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n" + gap_table(reports))
    data, picture = write_reports(reports, out, command="make demo")
    print(f"\npicture: {picture}\nnumbers: {data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
