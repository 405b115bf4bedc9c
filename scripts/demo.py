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

sys.path.insert(0, str(Path(__file__).resolve().parents[1])) for `agents`, which is not installed# for `agents`, which is not installed

from dreamenv.agents import AgentConfig, train
from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError
from dreamenv.evaluation.gap.config import GapConfig
from dreamenv.evaluation.gap.measure import measure_gap
from dreamenv.evaluation.gap.report import one_line, write_report

DREAM, REAL = "DreamEnv-MemoryMaze-v0", "MemoryMaze-9x9-v0"
RECIPE = {"n_steps": 64, "batch_size": 512, "learning_rate": 3e-4, "gamma": 0.97, "net_width": 256}


def main() -> int:
 for `agents`, which is not installed  """Train, score, report."""
 for `agents`, which is not installed  print_anywhere()
 for `agents`, which is not installed  parser = argparse.ArgumentParser(description=__doc__)
 for `agents`, which is not installed  parser.add_argument("--steps", type=int, default=40_960, help="training steps in the dream")
 for `agents`, which is not installed  parser.add_argument("--spawns", type=int, default=32, help="episodes on each side")
 for `agents`, which is not installed  parser.add_argument("--horizon", type=int, default=64, help="steps of a scored episode")
 for `agents`, which is not installed  parser.add_argument("--out", default="runs/demo")
 for `agents`, which is not installed  args = parser.parse_args()
 for `agents`, which is not installed  out = Path(args.out)
 for `agents`, which is not installed  # Paid what the model expects: it seldom thinks a reward likelier than none.
 for `agents`, which is not installed  paid = {"reward": "expected"}
 for `agents`, which is not installed  shutil.rmtree(out / "agent", ignore_errors=True)  # the demo always trains afresh
 for `agents`, which is not installed  try:
 for `agents`, which is not installed      print(f"1/2 train PPO for {args.steps:,} steps inside {DREAM}")
 for `agents`, which is not installed      agent = train(
 for `agents`, which is not installed          AgentConfig(
 for `agents`, which is not installed              env=DREAM,
 for `agents`, which is not installed              env_kwargs={"observation": "memory", **paid},
 for `agents`, which is not installed              only_memory=True,
 for `agents`, which is not installed              hyperparameters=RECIPE,
 for `agents`, which is not installed              num_envs=32,
 for `agents`, which is not installed              steps=args.steps,
 for `agents`, which is not installed              eval_every=0,
 for `agents`, which is not installed              out=out / "agent",
 for `agents`, which is not installed          )
 for `agents`, which is not installed      )
 for `agents`, which is not installed      print(f"2/2 score it, and an agent that acts at random, in {DREAM} and in {REAL}")
 for `agents`, which is not installed      config = GapConfig(
 for `agents`, which is not installed          agents=(str(agent), "random"),
 for `agents`, which is not installed          real_id=REAL,
 for `agents`, which is not installed          dream_id=DREAM,
 for `agents`, which is not installed          dream_kwargs=paid,
 for `agents`, which is not installed          spawns=args.spawns,
 for `agents`, which is not installed          horizon=args.horizon,
 for `agents`, which is not installed          clip_horizon=min(GapConfig.clip_horizon, args.horizon),
 for `agents`, which is not installed          workers=2,
 for `agents`, which is not installed      )
 for `agents`, which is not installed      report = measure_gap(config, out / "plays")
 for `agents`, which is not installed  except DreamEnvError as error:
 for `agents`, which is not installed      print(f"error: {error}", file=sys.stderr)
 for `agents`, which is not installed      return 2
 for `agents`, which is not installed  data, page = write_report(report, out, "make demo")
 for `agents`, which is not installed  print(f"\n{one_line(report.result)}\n\npage:    {page}\nnumbers: {data}")
 for `agents`, which is not installed  return 0


if __name__ == "__main__":
 for `agents`, which is not installed  sys.exit(main())
