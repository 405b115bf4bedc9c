"""How fast Memory Maze steps here and in the unmodified package, per process.

    python -m benchmarks.real_speed

Two processes, one per side, play the same 9x9 episode with the same actions in turns of a few
dozen steps, so that both meet the same load of the machine. The frames must be equal; if they
are not, nothing is written. Turns are timed by the wall clock and by the processor time that the
process used, its rendering threads included; the second is steadier on a busy machine.
Result: docs/results/real_speed.json.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import numpy as np

from benchmarks.script import conditions, options, store
from dreamenv.core.tables import aligned

SEED = 7
EPISODE_STEPS = 1000
SIDES = ("package", "dreamenv")
PACKAGES = ("memory-maze", "dm-control", "mujoco", "gymnasium", "numpy")


def main() -> int:
    """Measure both sides, write the result and print its table."""
    parser = options(__doc__, "real_speed.json")
    parser.add_argument("--turns", type=int, default=15, help="timed turns per side")
    parser.add_argument("--steps", type=int, default=60, help="steps per turn")
    parser.add_argument("--resets", type=int, default=5, help="timed resets per side")
    args = parser.parse_args()
    if (args.turns + 1) * args.steps >= EPISODE_STEPS:
        parser.error(f"(turns + 1) * steps must stay below an episode's {EPISODE_STEPS} steps")
    actions = _actions((args.turns + 1) * args.steps)
    result = _measure(actions, args.turns, args.steps, args.resets)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    rendering = {"rendering": os.environ.get("MUJOCO_GL", "egl")}
    store(args.out, conditions("real_speed") | rendering | versions | result)
    print(_table(result))
    return 0


def _actions(count: int) -> list[int]:
    """Mostly forward, turning now and then: a walk that meets walls and corridors."""
    random = np.random.default_rng(SEED)
    return random.choice(6, count, p=[0.02, 0.44, 0.1, 0.1, 0.17, 0.17]).tolist()


def _measure(actions: list[int], turns: int, steps: int, resets: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for side in SIDES:
        pipes[side], other_end = spawn.Pipe()
        spawn.Process(target=_serve, args=(side, other_end), daemon=True).start()

    def ask(side: str, request: Any) -> dict[str, Any]:
        pipes[side].send(request)
        return pipes[side].recv()

    taken: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(turns + 1):
        chunk = actions[turn * steps : (turn + 1) * steps]
        for side in SIDES:
            taken[side].append(ask(side, chunk))
    if any(a["digest"] != b["digest"] for a, b in zip(*taken.values(), strict=True)):
        raise SystemExit("The two sides rendered different frames; there is nothing to compare.")
    reset_seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(resets):
        for side in SIDES:
            reset_seconds[side].append(ask(side, "reset")["wall"])
    for pipe in pipes.values():
        pipe.send(None)
    return _summary(taken, steps, reset_seconds)


def _summary(
    taken: dict[str, list[dict[str, Any]]], steps: int, resets: dict[str, list[float]]
) -> dict[str, Any]:
    sides = {}
    for side, turns in taken.items():
        timed = turns[1:]  # the first turn warms up
        sides[side] = {
            "frames_per_second": round(median(steps / turn["wall"] for turn in timed), 1),
            "frames_per_cpu_second": round(median(steps / turn["cpu"] for turn in timed), 1),
            "reset_seconds": round(median(resets[side]), 3),
        }
    slow, fast = (sides[side] for side in SIDES)
    ratio = {
        key: round(fast[key] / slow[key], 2)
        for key in ("frames_per_second", "frames_per_cpu_second")
    }
    ratio["reset"] = round(slow["reset_seconds"] / fast["reset_seconds"], 2)
    return {
        "environment": "Memory Maze 9x9, 64x64x3",
        "seed": SEED,
        "turns": len(taken[SIDES[0]]) - 1,
        "steps_per_turn": steps,
        "frames_equal": True,
        **sides,
        "ratio": ratio,
    }


def _serve(side: str, pipe: Connection) -> None:
    """Answer requests in a process of its own: a list of actions, "reset", or None to end."""
    reset, step = (_package if side == "package" else _dreamenv)()
    frame = reset()
    while (request := pipe.recv()) is not None:
        digest = hashlib.sha256(np.ascontiguousarray(frame).tobytes())
        wall, cpu = time.perf_counter(), time.process_time()
        if request == "reset":
            frame = reset()
        else:
            for action in request:
                frame = step(action)
                digest.update(np.ascontiguousarray(frame).tobytes())
        pipe.send(
            {
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "digest": digest.hexdigest(),
            }
        )


def _package() -> tuple[Callable[[], np.ndarray], Callable[[int], np.ndarray]]:
    from memory_maze import tasks

    env = tasks.memory_maze_9x9(seed=SEED, image_only_obs=True)
    return lambda: env.reset().observation, lambda action: env.step(action).observation


def _dreamenv() -> tuple[Callable[[], np.ndarray], Callable[[int], np.ndarray]]:
    from dreamenv.real.memory_maze.env import MemoryMazeEnv

    env = MemoryMazeEnv(9)
    seeds = iter(range(SEED, SEED + 10**6))
    return lambda: env.reset(seed=next(seeds))[0], lambda action: env.step(action)[0]


def _table(result: dict[str, Any]) -> str:
    columns = ("frames_per_second", "frames_per_cpu_second", "reset_seconds")
    rows = [["", "frames/s", "frames/CPU s", "reset s"]]
    rows += [[side, *(f"{result[side][column]:g}" for column in columns)] for side in SIDES]
    rows.append(["ratio", *(f"{value:.2f}" for value in result["ratio"].values())])
    return "\n".join(aligned(rows))


if __name__ == "__main__":
    sys.exit(main())
