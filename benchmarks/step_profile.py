"""Where the time of a dream's step goes: torch's operations, compiled functions, Python."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.ageing import step_times
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.model import WorldModel

PRODUCTS = (
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::baddbmm_",
    "aten::mkldnn_linear", "mkldnn::_linear_pointwise",
)  # fmt: skip
MODEL, STEP = "dreamenv: model", "dreamenv: step"
Function = Callable[..., Any]


def parts(env: DreamVectorEnv, steps: int) -> dict[str, Any]:
    """Milliseconds per step of `env`, by what they are spent on; they add up to a step.

    Parts are measured under a profiler, which slows down what lies between operations;
    `profiler_milliseconds` is by how much, and is taken off Python's share.
    """
    env.reset(seed=0)
    step_times(env, 3)
    usual = statistics.mean(step_times(env, steps))
    model = env.dreamer.model
    with timed_functions(model.stepper()) as spent, _marked(model):
        step_times(env, 1)
        spent.clear()
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
    compiled = {f"compiled {name}": seconds / steps for name, seconds in spent.items()}
    overhead = max(0.0, total - usual)
    python = own[MODEL] + own[STEP] - sum(compiled.values()) - overhead
    found |= compiled
    found["Python"] = max(0.0, python)
    return {
        "slots": env.num_envs,
        "step_milliseconds": 1e3 * usual,
        "profiler_milliseconds": 1e3 * overhead,
        "milliseconds": {name: 1e3 * seconds for name, seconds in found.items()},
    }


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
