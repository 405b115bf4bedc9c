"""Where the time of a dream's step goes: torch's operations, compiled functions, Python."""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.ageing import step_times
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.runtime.cpu.tile_stepper import PARTS

PRODUCTS = (
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::baddbmm_",
    "aten::mkldnn_linear", "mkldnn::_linear_pointwise",
)  # fmt: skip
MODEL, STEP = "dreamenv: model", "dreamenv: step"
SAME_KIND = {"products": "matrix products", "convolutions": "convolutions"}
"""Parts of compiled functions that are of a kind with operations of torch's."""
Function = Callable[..., Any]


def parts(env: DreamVectorEnv, steps: int) -> dict[str, Any]:
    """Milliseconds per step of `env`, by what they are spent on; they add up to a step.

    Parts are measured under a profiler, which slows down what lies between operations;
    `profiler_milliseconds` is by how much, and is taken off Python's share.
    """
    env.reset(seed=0)
    step_times(env, 3)
    usual = statistics.mean(step_times(env, steps))
    model = env.loaded.model
    with contextlib.ExitStack() as stack:
        spent = stack.enter_context(timed_functions(model.stepper()))
        inside = stack.enter_context(timed_parts(model.stepper()))
        stack.enter_context(_marked(model))
        step_times(env, 1)
        spent.clear()
        inside.zero_()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            began = time.perf_counter()
            for _ in range(steps):
                with record_function(STEP):
                    step_times(env, 1)
            total = (time.perf_counter() - began) / steps
    own: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        own[event.key] += event.self_cpu_time_total / 1e6 / steps
    found = {"matrix products": 0.0, "convolutions": 0.0, "other torch operations": 0.0}
    for name, seconds in own.items():
        if name not in (MODEL, STEP):
            found[_kind(name)] += seconds
    threads = min(env.num_envs, torch.get_num_threads())
    compiled = split(spent, dict(zip(PARTS, inside.tolist(), strict=True)), threads)
    overhead = max(0.0, total - usual)
    python = own[MODEL] + own[STEP] - sum(compiled.values()) / steps - overhead
    for name, seconds in compiled.items():
        kind = SAME_KIND.get(name, f"compiled {name}")
        found[kind] = found.get(kind, 0.0) + seconds / steps
    found["Python"] = max(0.0, python)
    return {
        "slots": env.num_envs,
        "step_milliseconds": 1e3 * usual,
        "profiler_milliseconds": 1e3 * overhead,
        "milliseconds": {name: 1e3 * seconds for name, seconds in found.items()},
    }


def split(functions: dict[str, float], parts: dict[str, float], threads: int) -> dict[str, float]:
    """Seconds of compiled functions by the parts inside them, where those are known.

    Args:
        functions: seconds of every function, by the clock.
        parts: processor seconds of the parts, all threads together; zeros where nothing told.
        threads: that shared the work.
    """
    shares = {name: seconds / threads for name, seconds in parts.items() if seconds}
    if not shares:
        return dict(functions)
    total = sum(functions.values())
    scale = min(1.0, total / sum(shares.values()))  # clocks differ by a little
    found = {name: scale * seconds for name, seconds in shares.items()}
    return found | {"rest and waiting": total - sum(found.values())}


def _kind(operation: str) -> str:
    if operation in PRODUCTS:
        return "matrix products"
    return "convolutions" if "convolution" in operation else "other torch operations"


@contextmanager
def _marked(model: WorldModel) -> Iterator[None]:
    """Let the profiler tell what happens inside `model.imagine`."""
    imagine = model.imagine

    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(MODEL):
            return imagine(*args, **kwargs)

    model.imagine = marked  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.imagine


@contextmanager
def timed_functions(root: Any) -> Iterator[dict[str, float]]:
    """Time the compiled functions that `root` reaches, by name, for as long as this lasts.

    Those are functions of libraries loaded by ctypes, called through the library or kept in an
    attribute of an object of this package.
    """
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Function) -> Function:
        def call(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[name] += time.perf_counter() - began

        return call

    held = list(_compiled_functions(root, set()))
    for holder, name, function in held:
        setattr(holder, name, timed(function.__name__, function))
    try:
        yield spent
    finally:
        for holder, name, function in held:
            setattr(holder, name, function)


@contextmanager
def timed_parts(stepper: Any) -> Iterator[Tensor]:
    """Processor seconds of each of `PARTS` inside the stepper's functions, if it tells them."""
    spent = torch.zeros(len(PARTS), dtype=torch.float64)
    tells = hasattr(stepper, "spent")
    if tells:
        stepper.spent = spent
    try:
        yield spent
    finally:
        if tells:
            stepper.spent = None


def _compiled_functions(root: Any, seen: set[int]) -> Iterator[tuple[Any, str, Any]]:
    """(holder, attribute, function) of every compiled function that can be reached."""
    if id(root) in seen:
        return
    seen.add(id(root))
    if isinstance(root, dict | list | tuple):
        for part in root.values() if isinstance(root, dict) else root:
            yield from _compiled_functions(part, seen)
    elif isinstance(root, ctypes.CDLL) or type(root).__module__.startswith("dreamenv."):
        for name, value in list(getattr(root, "__dict__", {}).items()):
            if isinstance(value, ctypes._CFuncPtr):  # type: ignore[attr-defined]
                yield root, name, value
            else:
                yield from _compiled_functions(value, seen)
