"""What compiled kernels bring to training on the CPU, beside torch's operations, in turns.

    python -m benchmarks.training_native

Two models with the same weights see the same windows under the same noise, one with kernels and
one without (`DREAMENV_KERNELS=0`). Counted is the processor time of the process, on one thread: it
says the same on a busy machine, where seconds of the clock do not. `ratio` is the median over
rounds of the time of an update by torch's operations over that by kernels; `by_scheme` also has
both losses of every update. `products` is the share of matrix products in an update by kernels,
which no fusion shortens: an update by torch could be at most `ratio / products` times as long.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.script import conditions, options, store
from benchmarks.training_speed import Trainer
from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.machine import DTYPES
from dreamenv.core.settings import KERNELS
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import SCHEMES, Batch, ObjectiveConfig
from dreamenv.world_model.presets import PRESETS, preset
from dreamenv.world_model.runtime.cpu.training.kernels import library_for

PATHS = {"reference": "0", "native": "1"}
"""Value of the environment's switch for each."""
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
"""Torch's names of matrix products."""


def update(trainer: Trainer, batch: Batch, path: str) -> tuple[float, float]:
    """One update by a path; its processor seconds, and the loss before it."""
    os.environ[KERNELS] = PATHS[path]
    began = time.process_time()
    loss = trainer.model.loss(batch, trainer.objective, trainer.generator)["total"]
    loss.backward()
    trainer.optimizer.step(trainer.stage.learning_rate)
    trainer.average.update(trainer.modules)
    return time.process_time() - began, float(loss.detach())


def share_of_products(trainer: Trainer, batch: Batch) -> float:
    """Of the time of an update by kernels."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        update(trainer, batch, "native")
    own = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return sum(own.get(f"aten::{name}", 0) for name in PRODUCTS) / sum(own.values())


def in_turns(args: argparse.Namespace, scheme: str) -> dict[str, Any]:
    """Updates of one scheme by both paths; the first two of each warm up and are not counted."""
    trainers = {}
    for path in PATHS:
        torch.manual_seed(0)
        model = WorldModel(preset(args.preset))
        model.compute_dtype = getattr(torch, args.dtype)
        trainers[path] = Trainer(model, ObjectiveConfig(scheme=scheme))
    batch = trainers["native"].windows(args.rows, args.window)
    for trainer in trainers.values():
        trainer.generator.manual_seed(1)
    seconds: dict[str, list[float]] = {path: [] for path in PATHS}
    losses: dict[str, list[float]] = {path: [] for path in PATHS}
    for turn in range(-2, args.rounds):
        for path, trainer in trainers.items():
            taken, loss = update(trainer, batch, path)
            losses[path].append(loss)
            if turn >= 0:
                seconds[path].append(taken)
        print(scheme, {path: round(each[-1], 4) for path, each in losses.items()}, flush=True)
    ratios = [a / b for a, b in zip(seconds["reference"], seconds["native"], strict=True)]
    products = share_of_products(trainers["native"], batch)
    return {"ratio": statistics.median(ratios), "products": products, "ratios": ratios,
            "processor_seconds": seconds, "losses": losses}  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Both schemes."""
    keep_freed_memory()
    threads, switch = torch.get_num_threads(), os.environ.get(KERNELS)
    torch.set_num_threads(1)
    try:
        os.environ[KERNELS] = "1"
        result = conditions("training_native")
        if library_for(getattr(torch, args.dtype)) is None:
            raise SystemExit("there are no kernels to measure: install a C compiler")
        sizes = {"preset": args.preset, "dtype": args.dtype, "rows": args.rows}
        by_scheme = {scheme: in_turns(args, scheme) for scheme in SCHEMES}
    finally:
        torch.set_num_threads(threads)
        os.environ.pop(KERNELS)
        if switch is not None:
            os.environ[KERNELS] = switch
    return result | sizes | {"window": args.window, "by_scheme": by_scheme}


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "training_speed_native.json")
    parser.add_argument("--preset", choices=list(PRESETS), default="small")
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--rows", type=int, default=5, help="windows of an update")
    parser.add_argument("--rounds", type=int, default=7, help="counted updates by each path")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    args = parser.parse_args()
    store(args.out, measure(args))


if __name__ == "__main__":
    main()
