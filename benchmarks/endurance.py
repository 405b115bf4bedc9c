"""A million dreamt frames: nothing breaks, memory and latency stay flat.

    python benchmarks/endurance.py --out docs/results/endurance.json

All slots of one `DreamVectorEnv` are stepped with sticky random actions. Every step is checked:
rewards, features and uncertainties are finite numbers, every frame has contrast and differs from
the one before. At regular checkpoints the process's memory, the latency of a step since the last
checkpoint, and a matrix product as a yardstick of the machine at that moment are noted.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.machine import machine, matmul_rate
from dreamenv.files import atomic_write_json

STICKINESS = 0.8
CONTRAST = 0.5
"""Least standard deviation of a frame's pixels, 0 … 255."""


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Checks:
    """What must hold at every step.

    Raises:
        RuntimeError: it does not; says what, where and when.
    """

    def __init__(self) -> None:
        self.steps = self.episodes = self.still = 0
        self.least_contrast = np.inf
        self._before: NDArray | None = None

    def __call__(self, result: tuple) -> None:
        """Look at what `DreamVectorEnv.step` returned."""
        observations, rewards, terminated, truncated, info = result
        self.steps += 1
        finite = {
            "reward": rewards,
            "feature": observations["memory"],
            "uncertainty": info["uncertainty"],
        }
        for name, values in finite.items():
            if not np.isfinite(values).all():
                raise RuntimeError(f"a {name} is not finite in step {self.steps}: {values}")
        frames = observations["frame"]
        contrast = float(frames.std((1, 2, 3)).min())
        if contrast < CONTRAST:
            raise RuntimeError(f"a frame of step {self.steps} has contrast {contrast:.2f}")
        if self._before is not None:
            self.still += int((frames == self._before).all((1, 2, 3)).sum())
        self.least_contrast = min(self.least_contrast, contrast)
        self.episodes += int((terminated | truncated).sum())
        self._before = frames


def run(env: DreamVectorEnv, frames: int, checkpoints: int) -> dict[str, Any]:
    """Dream `frames` frames, all slots together, and look at the process `checkpoints` times."""
    assert isinstance(env.single_action_space, Discrete)
    count, rng, check = int(env.single_action_space.n), np.random.default_rng(0), Checks()
    steps = -(-frames // env.num_envs)
    marks = {round(steps * (i + 1) / checkpoints) for i in range(checkpoints)}
    env.reset(seed=0)
    actions = rng.integers(count, size=env.num_envs)
    taken, noted, began = [], [], time.perf_counter()
    for step in range(1, steps + 1):
        change = rng.random(env.num_envs) >= STICKINESS
        actions = np.where(change, rng.integers(count, size=env.num_envs), actions)
        before = time.perf_counter()
        result = env.step(actions)
        taken.append(time.perf_counter() - before)
        check(result)
        if step in marks:
            noted.append(
                {
                    "frames": step * env.num_envs,
                    "minutes": round((time.perf_counter() - began) / 60, 3),
                    "resident_mib": round(resident_bytes() / 2**20, 2),
                    "state_bytes": env.state_nbytes,
                    "step_ms": dict(
                        zip(
                            ("median", "p99"),
                            (round(1000 * x, 3) for x in np.percentile(taken, [50, 99])),
                            strict=True,
                        )
                    ),
                    "matmul_gflops": round(matmul_rate(torch.float32, 1024), 1),
                }
            )
            print(noted[-1], flush=True)
            taken.clear()
    return {
        "checkpoints": noted,
        "episodes": check.episodes,
        "least_contrast": check.least_contrast,
        "frames_equal_to_the_one_before": check.still,
        **flatness(noted),
    }


def flatness(noted: list[dict[str, Any]]) -> dict[str, float]:
    """The last fifth of the run against the first, whose first checkpoint warms up and is left out.

    `latency_ratio` is of median steps; in `latency_ratio_by_yardstick` each is first multiplied
    by the matrix products per second of its moment, so that a machine that others slow down does
    not count as a dream that grows slow.
    """
    fifth = max(1, len(noted) // 5)
    first, last = noted[1 : 1 + fifth] or noted, noted[-fifth:]

    def ratio(of: Any) -> float:
        return float(np.median([of(n) for n in last]) / np.median([of(n) for n in first]))

    return {
        "resident_ratio": ratio(lambda n: n["resident_mib"]),
        "state_ratio": ratio(lambda n: n["state_bytes"]),
        "latency_ratio": ratio(lambda n: n["step_ms"]["median"]),
        "latency_ratio_by_yardstick": ratio(lambda n: n["step_ms"]["median"] * n["matmul_gflops"]),
    }


def main() -> None:
    """Run and store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--horizon", type=int, default=1000, help="steps of an episode")
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--out", default="docs/results/endurance.json")
    args = parser.parse_args()
    env = DreamVectorEnv(args.slots, args.checkpoint, horizon=args.horizon, observation="memory")
    result = {
        "command": "python " + " ".join(sys.argv),
        **machine(),
        "threads": torch.get_num_threads(),
        "slots": args.slots,
        "horizon": args.horizon,
        **run(env, args.frames, args.checkpoints),
    }
    atomic_write_json(args.out, result)
    print({name: value for name, value in result.items() if name != "checkpoints"})


if __name__ == "__main__":
    main()
