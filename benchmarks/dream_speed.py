"""Speed of the dream, beside the real maze, by slots and passes, and over time, in one run.

    python benchmarks/dream_speed.py --out docs/results/dream_speed.json

What the result file holds:
  - `against_real`: frames/s of `DreamVectorEnv` and of the real environment in as many processes
    as there are cores. They take turns, several times over, because machines are noisy; the
    ratio is of medians;
  - `by_slots`: frames/s by number of slots and denoising passes K, and what share of the matrix
    product rate that is;
  - `one_slot`: seconds per step of a single dream, median and 99th percentile;
  - `over_time`: seconds per step and bytes of the state as a dream grows old;
  - `parts`: where a step's time goes;
  - `matmul_gflops` and `copied_gigabytes_per_second`: yardsticks of the machine, measured now.
With `DREAMENV_KERNELS=0` the same is measured without compiled kernels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.machine import machine, matmul_rate
from dreamenv.files import atomic_write_json
from dreamenv.world_model.kernel_stepping import KernelStepper
from dreamenv.world_model.model import WorldModel


def step_real(env_id: str, seed: int, seconds: float, start: Any, stop: Any, results: Any) -> None:
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
        while time.perf_counter() - began < seconds:
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


def against_real(env_id: str, env: DreamVectorEnv, rounds: int, seconds: float) -> dict[str, Any]:
    """Dream and real maze in turns; returns medians and their ratio."""
    processes = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    start, stop, results = context.Barrier(processes + 1), context.Event(), context.Queue()
    workers = [
        context.Process(
            target=step_real, args=(env_id, i, seconds, start, stop, results), daemon=True
        )
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    env.reset(seed=0)
    time_dream(env, seconds / 2)  # warm up
    real, dream = [], []
    for _ in range(rounds):
        start.wait()
        rates = [results.get() for _ in workers]
        start.wait()
        real.append(sum(rates))
        dream.append(time_dream(env, seconds))
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


def by_slots(
    checkpoint: str, slots: list[int], passes: list[int], seconds: float, gflops: dict[str, float]
) -> list[dict[str, Any]]:
    """Frames/s of every number of slots at every K, in turns; the best of three."""
    rows = []
    for count in slots:
        envs = {k: DreamVectorEnv(count, checkpoint, steps=k) for k in passes}
        rates: dict[int, list[float]] = {k: [] for k in passes}
        for env in envs.values():
            env.reset(seed=0)
            time_dream(env, seconds / 5)
        for _ in range(3):
            for k, env in envs.items():
                rates[k].append(time_dream(env, seconds / 3))
        for k, env in envs.items():
            model, rate = env.dreamer.model, max(rates[k])
            flops = frame_flops(model, k)
            yardstick = gflops[str(model.compute_dtype).removeprefix("torch.")]
            rows.append({
                "slots": count,
                "denoising_steps": k,
                "frames_per_second": rate,
                "flops_per_frame": flops,
                "share_of_matmul_rate": rate * flops / 1e9 / yardstick,
            })  # fmt: skip
    return rows


def frame_flops(model: WorldModel, steps: int) -> int:
    """Floating-point operations of matrix products and convolutions of one imagined frame."""
    state = model.initial_state(1)
    discrete = model.config.actions.discrete
    action = torch.zeros(1, dtype=torch.int64) if discrete else torch.zeros(1, len(state.layers))
    with FlopCounterMode(display=False) as counter:
        model.imagine(state, action.to(model.device), _zeros_of_noise(model), steps)
    return counter.get_total_flops()


def _zeros_of_noise(model: WorldModel) -> torch.Tensor:
    return torch.zeros(model.noise_shape(1), device=model.device)


def one_slot(checkpoint: str, steps: int) -> dict[str, float]:
    """Seconds per step of a single dream."""
    env = DreamVectorEnv(1, checkpoint, horizon=10 * steps)
    env.reset(seed=0)
    seconds = step_times(env, steps + 10)[10:]
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_99th": float(np.quantile(seconds, 0.99)),
        "frames_per_second": 1 / statistics.median(seconds),
    }


def step_times(env: DreamVectorEnv, steps: int) -> list[float]:
    """Seconds of each of some steps under random actions."""
    seconds = []
    for _ in range(steps):
        action = env.action_space.sample()
        began = time.perf_counter()
        env.step(action)
        seconds.append(time.perf_counter() - began)
    return seconds


def over_time(checkpoint: str, ages: list[int], window: int = 50) -> dict[str, Any]:
    """Median seconds per step up to each age, in one dream in which no step is skipped."""
    env = DreamVectorEnv(1, checkpoint, horizon=10 * ages[-1])
    env.reset(seed=0)
    seconds, size, age = [], [], 0
    for next_age in ages:
        step_times(env, next_age - window - age)
        seconds.append(statistics.median(step_times(env, window)))
        size.append(env.state_nbytes)
        age = next_age
    return {
        "frames": ages,
        "seconds_per_step": seconds,
        "latency_ratio": seconds[-1] / seconds[0],
        "state_bytes": size,
        "bytes_ratio": size[-1] / size[0],
    }


def parts(checkpoint: str, slots: int, steps: int) -> dict[str, Any]:
    """Milliseconds per step: matrix products, convolutions, each kernel, and all the rest."""
    env = DreamVectorEnv(slots, checkpoint, horizon=10 * steps)
    env.reset(seed=0)
    step_times(env, 5)
    model = env.dreamer.model
    usual, kernels = model.stepper(), Timed(None)
    if isinstance(usual, KernelStepper):
        kernels = Timed(usual.kernels)
        model.use(KernelStepper(usual.dynamics, usual.tokenizer, usual.dtype, kernels))
    try:
        step_times(env, 5)
        kernels.spent.clear()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            total = sum(step_times(env, steps))
    finally:
        model.use(usual)
    spent = {
        name: sum(e.self_cpu_time_total for e in profiler.key_averages() if e.key in keys) / 1e6
        for name, keys in {
            "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm_"),
            "convolutions": ("aten::mkldnn_convolution",),
        }.items()
    }
    spent |= {f"kernel {name}": seconds for name, seconds in kernels.spent.items()}
    spent["rest"] = total - sum(spent.values())
    return {
        "slots": slots,
        "threads": torch.get_num_threads(),
        "milliseconds": {name: 1e3 * seconds / steps for name, seconds in spent.items()},
    }


class Timed:
    """Compiled kernels whose calls are timed."""

    def __init__(self, kernels: Any) -> None:
        self.kernels, self.spent = kernels, defaultdict[str, float](float)

    def __getattr__(self, name: str) -> Callable[..., None]:
        kernel = getattr(self.kernels, name)

        def timed(*args: Any) -> None:
            began = time.perf_counter()
            kernel(*args)
            self.spent[name] += time.perf_counter() - began

        return timed


def copied_gigabytes_per_second(size: int = 2**26) -> float:
    """Bytes read and written by a copy that fits no cache of a core; the best of eight."""
    source, target = (torch.zeros(size, dtype=torch.uint8) for _ in range(2))
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - began)
    return 2 * size / min(seconds) / 1e9


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--real", default="MemoryMaze-9x9-v0")
    parser.add_argument("--slots", type=int, default=16, help="beside the real environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one reading")
    parser.add_argument("--by-slots", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--ages", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--steps", type=int, default=300, help="of one slot, and of the parts")
    parser.add_argument("--out", default="docs/results/dream_speed.json")
    args = parser.parse_args()
    gflops = {name: matmul_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}
    result = {
        "command": "python " + " ".join(sys.argv),
        **machine(),
        "threads": torch.get_num_threads(),
        "matmul_gflops": gflops,
        "copied_gigabytes_per_second": copied_gigabytes_per_second(),
        "against_real": against_real(
            args.real, DreamVectorEnv(args.slots, args.checkpoint), args.rounds, args.seconds
        ),
        "by_slots": by_slots(args.checkpoint, args.by_slots, args.passes, args.seconds, gflops),
        "one_slot": one_slot(args.checkpoint, args.steps),
        "over_time": over_time(args.checkpoint, args.ages),
        "parts": parts(args.checkpoint, args.slots, args.steps),
    }
    atomic_write_json(args.out, result)
    print(result)


if __name__ == "__main__":
    main()
