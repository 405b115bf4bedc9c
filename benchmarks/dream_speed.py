"""Speed of the dream: by slots and passes, in both precisions, over time, beside the real maze.

    python -m benchmarks.dream_speed

What `docs/results/dream_speed.json` holds:
  - `by_slots`: frames/s of `DreamVectorEnv` by precision, number of slots and denoising passes K,
    random actions, episodes of 256 steps and their resets included. Each is the median of several
    readings, between which those of the other K and of the yardsticks are taken; beside it stand
    what share of the matrix product rate that is, and what share of the roofline: of the least
    time in which products and memory traffic can be done (`benchmarks/frame_work.py`);
  - `one_slot`: seconds per step of a single dream, median and 99th percentile;
  - `over_time`: seconds per step and bytes of a dream as it grows old, beside a young one
    (`benchmarks/ageing.py`). `--ages 100 1000 10000 100000` takes a quarter of an hour;
    `benchmarks/endurance.py` gives the same in passing;
  - `against_real`: frames/s of dreams and of the real environment in as many processes as there
    are cores, in turns; the ratio is of medians;
  - `parts`: where a step's time goes (`benchmarks/step_profile.py`);
  - `work`: what a frame computes and moves.
With `DREAMENV_KERNELS=0` in the environment the same is measured without compiled kernels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from typing import Any

import gymnasium
import numpy as np

import dreamenv  # noqa: F401  (registers the ids)
from benchmarks.ageing import over_time, step_times
from benchmarks.frame_work import frame_work
from benchmarks.script import conditions, options, store
from benchmarks.step_profile import parts
from benchmarks.yardsticks import Yardsticks
from dreamenv.core.machine import DTYPES
from dreamenv.dream.vector_env import DreamVectorEnv


def step_real(env_id: str, seed: int, seconds: float, start: Any, stop: Any, results: Any) -> None:
    """One process: step the real environment with sticky actions between two barriers."""
    try:
        env = gymnasium.make(env_id)
        env.reset(seed=seed)
    except BaseException:
        start.abort()  # or the others would wait for ever
        raise
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
    """Frames per second of all slots together under random actions; one step at least."""
    began, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - began < seconds:
        env.step(env.action_space.sample())
        steps += 1
    return steps * env.num_envs / (time.perf_counter() - began)


def against_real(
    env_id: str, env: DreamVectorEnv, rounds: int, seconds: float, yardsticks: Yardsticks
) -> dict[str, Any]:
    """Dream and real environment in turns; returns all readings and the ratio of medians."""
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
        yardsticks.read()
    stop.set()
    start.wait()
    for worker in workers:
        worker.join()
    return {
        "env_id": env_id,
        "slots": env.num_envs,
        "dtype": dtype_of(env),
        "denoising_steps": passes_of(env),
        "real_processes": processes,
        "dream_frames_per_second": dream,
        "real_frames_per_second": real,
        "ratio": statistics.median(dream) / statistics.median(real),
        **yardsticks.to_json(),
    }


def by_slots(
    checkpoint: str, dtype: str, slots: int, passes: list[int], rounds: int, seconds: float,
    yardsticks: Yardsticks,
) -> list[dict[str, Any]]:  # fmt: skip
    """Frames/s of one number of slots at every K, which take turns with the yardsticks."""
    env = DreamVectorEnv(slots, checkpoint, dtype=dtype)
    env.action_space.seed(0)
    env.reset(seed=0)
    readings: dict[int, list[float]] = {k: [] for k in passes}
    for turn in range(-1, rounds):
        for env.denoising_steps in passes:
            rate = time_dream(env, seconds if turn >= 0 else seconds / 4)
            if turn >= 0:  # the first warms up
                readings[env.denoising_steps].append(rate)
        yardsticks.read()
    machine = yardsticks.to_json()
    rows = []
    for k, rates in readings.items():
        work, rate = frame_work(env.loaded.model, k), statistics.median(rates)
        gflops = machine["matmul_gflops"][dtype]
        bound = work.bound(slots, gflops, machine["copied_gigabytes_per_second"])
        least = max(bound["arithmetic_seconds"], bound["traffic_seconds"])
        rows.append({
            "dtype": dtype,
            "slots": slots,
            "denoising_steps": k,
            "frames_per_second": rate,
            "readings": rates,
            "share_of_matmul_rate": rate * work.flops / 1e9 / gflops,
            **bound,
            "share_of_roofline": rate * least / slots,
            **machine,
        })  # fmt: skip
        print(f"{dtype} {slots} slots K={k}: {rate:.1f} frames/s", flush=True)
    return rows


def one_slot(
    checkpoint: str, dtype: str, passes: list[int], steps: int, yardsticks: Yardsticks
) -> list[dict[str, Any]]:
    """Seconds per step of a single dream at every K."""
    env = DreamVectorEnv(1, checkpoint, dtype=dtype)
    env.action_space.seed(0)
    env.reset(seed=0)
    rows = []
    for env.denoising_steps in passes:
        step_times(env, 10)
        seconds = step_times(env, steps)
        yardsticks.read()
        rows.append({
            "dtype": dtype,
            "denoising_steps": env.denoising_steps,
            "steps": steps,
            "seconds_median": statistics.median(seconds),
            "seconds_99th": float(np.quantile(seconds, 0.99)),
        })  # fmt: skip
    machine = yardsticks.to_json()
    return [row | machine for row in rows]


def passes_of(env: DreamVectorEnv) -> int:
    """K of a dream."""
    return env.denoising_steps or env.loaded.model.config.sampler.steps


def dtype_of(env: DreamVectorEnv) -> str:
    """Precision of a dream's products."""
    return str(env.loaded.model.compute_dtype).removeprefix("torch.")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything."""
    result: dict[str, Any] = conditions("dream_speed")
    plain = Yardsticks(args.matmul_size, args.copied_mebibytes)
    env = DreamVectorEnv(args.slots, args.checkpoint)
    model = env.loaded.model
    result |= {
        "checkpoint": {
            "name": args.checkpoint,
            "weights_sha256": env.loaded.fingerprint,
            "denoising_passes": model.config.sampler.steps,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "compiled_kernels": os.environ.get("DREAMENV_KERNELS", "1") != "0",
        "usual_dtype": dtype_of(env),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "horizon": env.horizon,
    }
    if args.real:
        result["against_real"] = against_real(
            args.real, env, args.rounds, args.real_seconds, plain.fresh()
        )
    result |= {"work": [], "by_slots": [], "one_slot": [], "parts": []}
    for dtype in args.dtypes:
        dreams = DreamVectorEnv(args.slots, args.checkpoint, dtype=dtype)
        model = dreams.loaded.model
        for k in args.passes:
            work = frame_work(model, k).to_json()
            result["work"].append({"dtype": dtype, "denoising_steps": k, **work})
        for slots in args.by_slots:
            result["by_slots"] += by_slots(
                args.checkpoint, dtype, slots, args.passes, args.rounds, args.seconds, plain.fresh()
            )
        result["one_slot"] += one_slot(
            args.checkpoint, dtype, args.passes, args.steps, plain.fresh()
        )
        for slots in args.profile_slots:
            env = DreamVectorEnv(slots, args.checkpoint, dtype=dtype)
            machine = plain.fresh()
            machine.read()
            row = {"dtype": dtype, "denoising_steps": passes_of(env), **machine.to_json()}
            result["parts"].append(row | parts(env, args.profile_steps))
    machine = plain.fresh()
    machine.read()
    result["over_time"] = {
        "dtype": result["usual_dtype"],
        "denoising_steps": result["checkpoint"]["denoising_passes"],
        **machine.to_json(),
        **over_time(args.checkpoint, args.ages, args.pairs),
    }
    return result


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "dream_speed.json", yardsticks=True)
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--real", default="MemoryMaze-9x9-v0", help="'' leaves it out")
    parser.add_argument("--slots", type=int, default=16, help="beside the real environment")
    parser.add_argument("--rounds", type=int, default=5, help="readings of each figure")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one reading")
    parser.add_argument("--real-seconds", type=float, default=3.0, help="of one beside the real")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--by-slots", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--passes", type=int, nargs="+", default=[8, 4, 2, 1])
    parser.add_argument("--ages", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--pairs", type=int, default=400, help="of steps, old and young, per age")
    parser.add_argument("--steps", type=int, default=300, help="of one slot")
    parser.add_argument("--profile-slots", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--profile-steps", type=int, default=30)
    args = parser.parse_args()
    store(args.out, measure(args))


if __name__ == "__main__":
    main()
