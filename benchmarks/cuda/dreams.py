"""Parts that time dreams: one, many, old ones, and beside the real environment."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.ageing import over_time as age_over_time
from benchmarks.ageing import step_times
from benchmarks.cuda import checks
from benchmarks.cuda.common import (
    MANY_SLOTS,
    LeftOutError,
    checkpoint_model,
    new_dream,
    take_steps,
    timed,
)
from benchmarks.dream_speed import against_real, time_dream
from benchmarks.yardsticks import Yardsticks
from dreamenv.core.device import pick_device
from dreamenv.world_model.runtime.cuda.graphs import StepGraphs, cuda_capture
from dreamenv.world_model.runtime.frame import FrameStepper
from dreamenv.world_model.runtime.select import make_stepper


def one_slot(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds per step of a single dream."""
    env = new_dream(args, 1)
    step_times(env, 20)
    seconds = step_times(env, args.steps)
    return {
        "milliseconds_median": 1e3 * statistics.median(seconds),
        "milliseconds_99th": 1e3 * float(np.quantile(seconds, 0.99)),
    }


def dreams(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Frames/s by slots and denoising passes."""
    rows = []
    for slots in args.slots:
        for passes in args.passes:
            env = new_dream(args, slots, passes)
            take_steps(env, 5)
            rate = time_dream(env, args.seconds)
            rows.append({"slots": slots, "denoising_steps": passes, "frames_per_second": rate})
    return {"rows": rows}


def variants(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Milliseconds of a frame by each runtime, as single launches and as a graph."""
    model = checkpoint_model(args, device)
    model.compute_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    steppers = {"torch": FrameStepper, "triton": make_stepper}
    captures = {"single launches": None, "graph": cuda_capture}
    if device.type != "cuda":
        del steppers["triton"], captures["graph"]
    rows = []
    for slots in sorted({min(args.slots), max(s for s in args.slots if s <= MANY_SLOTS)}):
        for kind, make in steppers.items():
            for how, capture in captures.items():
                stepper = make(model.dynamics, model.tokenizer, model.compute_dtype)
                stepper.graphs = StepGraphs(capture)
                model.use(stepper)
                state = model.initial_state(slots)
                given = (checks.actions_of(model, slots, 0),
                         torch.zeros(model.noise_shape(slots), device=device))  # fmt: skip

                def imagine(state: Any = state, given: Any = given) -> None:
                    model.imagine(state, *given, reuse=True)

                seconds = timed(imagine, device, rounds=20)
                rows.append({"slots": slots, "by": kind, "as": how, "milliseconds": 1e3 * seconds})
    return {"rows": rows}


def profile(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Where a step of many slots goes: drawing noise, and the operations that take longest."""
    from torch.profiler import ProfilerActivity, profile

    slots = max(s for s in args.slots if s <= MANY_SLOTS)
    env = new_dream(args, slots)
    take_steps(env, 5)
    step = timed(lambda: take_steps(env, 1), device, rounds=10)
    noise = np.zeros(env.loaded.model.noise_shape(slots), np.float32)
    generators = [np.random.default_rng(i) for i in range(slots)]
    began = time.perf_counter()
    for i, generator in enumerate(generators):
        generator.standard_normal(dtype=np.float32, out=noise[i, :1])
    drawing = time.perf_counter() - began
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    with profile(activities=activities) as profiler:
        take_steps(env, 5)
    spent = {event.key: getattr(event, clock) / 5e3 for event in profiler.key_averages()}
    most = sorted(spent.items(), key=lambda item: -item[1])[:20]
    return {
        "slots": slots,
        "milliseconds": {"step": 1e3 * step, "noise": 1e3 * drawing, "device": sum(spent.values())},
        "operations": {name: value for name, value in most if value},
    }


def over_time(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """An old dream beside a young one."""
    if pick_device("auto").type != device.type:
        raise LeftOutError("is measured on the usual device only")
    return age_over_time(args.checkpoint, args.ages, args.pairs)


def real(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Dreams beside the real environment."""
    if not args.real:
        raise LeftOutError("no real environment was named")
    env = new_dream(args, max(args.slots) if max(args.slots) < MANY_SLOTS else MANY_SLOTS)
    yardsticks = Yardsticks(args.matmul_size, args.copied_mebibytes, str(device))
    return against_real(args.real, env, args.rounds, args.real_seconds, yardsticks)
