"""Speed of the dream, beside the real maze and over time, in one run.

    python benchmarks/dream_speed.py --out docs/results/dream_speed.json

Three figures, each a ratio within this run:
  - frames/s of `DreamVectorEnv` against the real environment in as many processes as cores;
  - seconds per step at frame 5,000 against frame 100, and the bytes of the state there;
  - frames/s of a bfloat16 or float32 matrix product as a yardstick of the machine.
Dream and real maze take turns, several times over, because machines are noisy; the ratio is of
medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import torch

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.files import atomic_write_json


def step_real(env_id: str, seed: int, start: Any, stop: Any, results: Any) -> None:
    """One process: step the real environment with sticky actions between two barriers."""
    env = gymnasium.make(env_id)
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    action = 0
    while True:
        start.wait()
        if stop.is_set():
            return
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < 5.0:
            if rng.random() < 0.2:
                action = int(rng.integers(env.action_space.n))  # type: ignore[attr-defined]
            _, _, terminated, truncated, _ = env.step(action)
            steps += 1
            if terminated or truncated:
                env.reset()
        results.put(steps / (time.perf_counter() - began))
        start.wait()


def time_dream(env: DreamVectorEnv, seconds: float) -> float:
    """Frames per second of all slots together under random actions."""
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        env.step(env.action_space.sample())
        steps += 1
    return steps * env.num_envs / (time.perf_counter() - began)


def against_real(env_id: str, env: DreamVectorEnv, rounds: int) -> dict[str, Any]:
    """Dream and real maze in turns; returns medians and their ratio."""
    processes = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    start, stop, results = context.Barrier(processes + 1), context.Event(), context.Queue()
    workers = [
        context.Process(target=step_real, args=(env_id, i, start, stop, results), daemon=True)
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    env.reset(seed=0)
    time_dream(env, 2)  # warm up
    real, dream = [], []
    for _ in range(rounds):
        start.wait()
        rates = [results.get() for _ in workers]
        start.wait()
        real.append(sum(rates))
        dream.append(time_dream(env, 5))
    stop.set()
    start.wait()
    for worker in workers:
        worker.join()
    medians = statistics.median(dream), statistics.median(real)
    return {
        "slots": env.num_envs,
        "denoising_steps": env.steps or env.dreamer.model.config.sampler.steps,
        "real_processes": processes,
        "dream_frames_per_second": dream,
        "real_frames_per_second": real,
        "ratio": medians[0] / medians[1],
    }


def over_time(checkpoint: str, frames: int = 5000, window: int = 50) -> dict[str, Any]:
    """Median seconds per step around frame 100 and around the last frame, and state bytes.

    The two are measured in one dream; steps in between are taken as well, not skipped.
    """
    env = DreamVectorEnv(1, checkpoint, horizon=10 * frames)
    env.reset(seed=0)
    seconds, size = [], {}
    for frame in range(frames + window):
        action = env.action_space.sample()
        began = time.perf_counter()
        env.step(action)
        seconds.append(time.perf_counter() - began)
        if frame in (100, frames):
            size[frame] = env.state_nbytes
    early = statistics.median(seconds[100 - window : 100 + window])
    late = statistics.median(seconds[frames - window : frames + window])
    return {
        "frames": [100, frames],
        "seconds_per_step": [early, late],
        "latency_ratio": late / early,
        "state_bytes": [size[100], size[frames]],
        "bytes_ratio": size[frames] / size[100],
    }


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product."""
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times) / 1e9


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--real", default="MemoryMaze-9x9-v0")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="docs/results/dream_speed.json")
    args = parser.parse_args()
    result = {
        "command": "python " + " ".join(sys.argv),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_gflops": {
            "float32": matmul_rate(torch.float32),
            "bfloat16": matmul_rate(torch.bfloat16),
        },
        "over_time": over_time(args.checkpoint),
        "against_real": against_real(
            args.real, DreamVectorEnv(args.slots, args.checkpoint), args.rounds
        ),
    }
    atomic_write_json(args.out, result)
    print(result)


if __name__ == "__main__":
    main()
