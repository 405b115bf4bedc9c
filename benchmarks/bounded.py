"""What a process holds does not grow: memory, open files and threads over many uses of a dream.

    python -m benchmarks.bounded

Parts: `make and close` makes a dream, steps it and closes it, again and again; `steps` steps one
dream without an end; `slots` steps a thousand dreams in one batch; `processes` steps dreams in
several processes at once. The model is untrained and tiny (preset `debug`), so that what is held
beside it shows. After a fifth of every part, when caches are full, what is held is noted, and again
at the end; the difference is what a leak would be. A million frames of the bundled model are in
`python -m benchmarks.endurance`. Result: docs/results/bounded.json. Minutes on two quiet cores.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.endurance import resident_bytes
from benchmarks.fuzz.subjects import make_checkpoint
from benchmarks.script import conditions, options, store
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.vector_env import DreamVectorEnv

ENDS = 5
"""Of the first and of the last fifth, the median of so many readings is taken."""


def main() -> None:
    """Run the parts, or what one process of several does."""
    parser = options(__doc__, "bounded.json")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--slots", type=int, default=1024)
    parser.add_argument("--slot-steps", type=int, default=50)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--step-in", type=Path, help="what one of several processes does")
    args = parser.parse_args()
    if args.step_in:
        print(peak_of(args.step_in))
        return
    result: dict[str, Any] = {"conditions": conditions("bounded"), "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder)
        make_checkpoint(checkpoint)
        parts: dict[str, Callable[[], Iterator[float]]] = {
            "make and close": lambda: make_and_close(checkpoint, args.cycles),
            "steps": lambda: step_on(checkpoint, args.steps),
            "slots": lambda: step_many(checkpoint, args.slots, args.slot_steps),
        }
        for name, part in parts.items():
            result["parts"][name] = watch(part())
            print(name, result["parts"][name], flush=True)
            store(args.out, result)
        result["parts"]["processes"] = in_processes(checkpoint, args.processes)
        store(args.out, result)


def watch(part: Iterator[float]) -> dict[str, Any]:
    """What is held while a part goes on; it yields the seconds of each of its uses."""
    readings = []
    for seconds in part:
        gc.collect()
        files, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        readings.append((resident_bytes(), files, threads, seconds))
    table = np.array(readings)
    fifth = max(ENDS, len(table) // 5)
    early, late = table[fifth : fifth + ENDS], table[-ENDS:]
    names = ("bytes", "files", "threads", "seconds")
    told: dict[str, Any] = {"uses": len(table)}
    for column, name in enumerate(names):
        told[name] = [float(np.median(rows[:, column])) for rows in (early, late)]
    return told


def make_and_close(checkpoint: Path, count: int) -> Iterator[float]:
    """Make, step and close a dream."""
    for seed in range(count):
        began = time.perf_counter()
        env = DreamEnv(checkpoint=checkpoint, dtype="float32")
        env.reset(seed=seed)
        for action in (0, 1, 2):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        env.close()
        yield time.perf_counter() - began


def step_on(checkpoint: Path, count: int) -> Iterator[float]:
    """Step one dream; a hundredth of the steps is one use."""
    env = DreamVectorEnv(1, checkpoint, dtype="float32", horizon=2**40)
    env.reset(seed=0)
    for _ in range(100):
        began = time.perf_counter()
        for step in range(count // 100):
            env.step(np.array([step % 4]))
        yield (time.perf_counter() - began) / (count // 100)
    env.close()


def step_many(checkpoint: Path, slots: int, count: int) -> Iterator[float]:
    """Step many dreams in one batch."""
    env = DreamVectorEnv(slots, checkpoint, dtype="float32")
    env.reset(seed=0)
    for step in range(count):
        began = time.perf_counter()
        env.step(np.full(slots, step % 4))
        yield time.perf_counter() - began
    env.close()


def in_processes(checkpoint: Path, count: int) -> dict[str, Any]:
    """The peak of memory of each of several processes that dream at once."""
    command = [sys.executable, "-m", "benchmarks.bounded", "--step-in", str(checkpoint)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(count)
    ]
    told = [process.communicate()[0] for process in running]
    codes = [process.returncode for process in running]
    return {"uses": count, "exit_codes": codes, "bytes": [int(text or 0) for text in told]}


def peak_of(checkpoint: Path) -> int:
    """Memory of this process after a hundred steps."""
    for _ in step_on(checkpoint, 100):
        pass
    return resident_bytes()


if __name__ == "__main__":
    main()
