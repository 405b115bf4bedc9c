"""Single readings of what a model costs, each to be taken in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamenv.core.allocator import keep_freed_memory
from dreamenv.core.device import pick_device
from dreamenv.core.errors import ConfigError
from dreamenv.core.machine import DTYPES, matmul_rates, synchronize
from dreamenv.training.optimizer import Optimizer
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from dreamenv.world_model.state import GROWING, State

WARM_UP = 2
"""Frames of the training iteration before those that count."""
PIECE = 256
"""Frames observed at once while a memory is filled."""


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of this package in a process that has run nothing before.

    It is forked by a server that has only imported this module. A process started from this one
    instead would count this one's largest size as its own.
    """
    servers = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
    context = multiprocessing.get_context("forkserver" if servers else "spawn")
    if servers:
        # torch's first optimiser imports torch._dynamo, for seconds.
        context.set_forkserver_preload([__name__, "torch._dynamo"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


@dataclass(frozen=True)
class Conditions:
    """Under which readings are taken."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    most_bytes: int = 0
    """What training may allocate on the CPU; 0: three quarters of the main memory."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is float32 or bfloat16, not {self.dtype!r}")
        if self.threads < 1 or self.most_bytes < 0:
            raise ConfigError(f"need threads ≥ 1 and most_bytes ≥ 0, got {self}")


def yardstick(size: int, conditions: Conditions) -> dict[str, float]:
    """GFLOP/s of a square matrix product by dtype."""
    torch.set_num_threads(conditions.threads)
    return matmul_rates(size, pick_device(conditions.device))


def train_reading(
    config: WorldModelConfig,
    objective: ObjectiveConfig,
    frames: int,
    iterations: int,
    seconds: float,
    conditions: Conditions,
) -> dict[str, Any]:
    """Train on one sequence of random latents.

    Args:
        config: of the model.
        objective: what is minimised.
        frames: length of the sequence.
        iterations: how many, if they do not take longer than `seconds` together; at least one.
        seconds: see `iterations`.
        conditions: device, dtype and limits.

    Returns:
        `seconds` of each iteration and `peak_bytes`, or `left_out` where memory did not suffice.

    Raises:
        ConfigError: the device is a CPU under Windows, which does not tell what was used.
    """
    model, device = _model(config, conditions)
    if device.type == "cpu" and sys.platform == "win32":
        raise ConfigError("the memory of training on a CPU cannot be measured on Windows")
    if device.type == "cpu":
        keep_freed_memory(huge_pages=False)  # as training does, under a limit
    optimizer = Optimizer([model.dynamics, model.head], model.dynamics.layers, 0.01)
    generator = torch.Generator().manual_seed(0)

    def iterate(batch: Batch) -> None:
        model.loss(batch, objective, generator)["total"].backward()
        optimizer.step(1e-4)

    iterate(_random_batch(model, WARM_UP))
    batch = _random_batch(model, frames)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _limit_memory(conditions.most_bytes)
    before = _peak_bytes(device)
    taken: list[float] = []
    try:
        while not taken or (len(taken) < iterations and sum(taken) < seconds):
            began = _now(device)
            iterate(batch)
            taken.append(_now(device) - began)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        return {"left_out": "needs more memory than there is"}
    return {"seconds": taken, "peak_bytes": _peak_bytes(device) - before}


def step_readings(
    configs: dict[str, WorldModelConfig],
    indices: tuple[int, ...],
    steps: int,
    conditions: Conditions,
) -> list[dict[str, Any]]:
    """Imagine on from frame indices; models take turns.

    Args:
        configs: name → configuration.
        indices: how many frames are in memory, ascending.
        steps: timed steps at each index, after one that is not timed.
        conditions: device, dtype and threads.

    Returns:
        For each model and index `model`, `frames`, `seconds` of each step, and `state_bytes`.
    """
    models = {name: _model(config, conditions)[0] for name, config in configs.items()}
    states = {name: model.initial_state(1) for name, model in models.items()}
    readings = []
    for index in indices:
        for name, model in models.items():
            states[name] = state = remember(model, states[name], index)
            size, seconds = state.nbytes, []
            for _ in range(1 + steps):
                noise = torch.randn(model.noise_shape(1), device=model.device)
                action = _actions(model, 1)[:, 0]
                began = _now(model.device)
                *_, state = model.imagine(state, action, noise)
                seconds.append(_now(model.device) - began)
            readings.append(
                {"model": name, "frames": index, "seconds": seconds[1:], "state_bytes": size}
            )
    return readings


def remember(model: WorldModel, state: State, frames: int) -> State:
    """The memory of one slot with `frames` frames in it, going on from `state`.

    Random latents are observed. A cache that grows, if it is not empty, is repeated instead: that
    takes no time, and to the next step only its size matters.
    """
    seen = int(state.frames[0])
    if model.config.dynamics.attention == "full" and seen:
        again = torch.arange(frames, device=model.device) % seen
        layers = [
            {name: x[:, again] if name in GROWING else x for name, x in layer.items()}
            for layer in state.layers
        ]
        return State(layers, state.latents, state.level, torch.full_like(state.frames, frames))
    while seen < frames:
        count = min(PIECE, frames - seen)
        latents = torch.randn(1, count, *model.noise_shape(1)[2:], device=model.device)
        state, _ = model.observe_latents(state, latents, _actions(model, count))
        seen += count
    return state


def _model(config: WorldModelConfig, conditions: Conditions) -> tuple[WorldModel, torch.device]:
    torch.set_num_threads(conditions.threads)
    torch.manual_seed(0)
    device = pick_device(conditions.device)
    model = WorldModel(config).to(device)
    model.compute_dtype = getattr(torch, conditions.dtype)
    return model, device


def _random_batch(model: WorldModel, frames: int) -> Batch:
    latents = torch.randn(1, frames, *model.noise_shape(1)[2:], device=model.device)
    rewards = torch.zeros(1, frames, device=model.device)
    return Batch(latents, _actions(model, frames), rewards, rewards)


def _actions(model: WorldModel, frames: int) -> Tensor:
    """One action again and again, (1, frames) or (1, frames, dims)."""
    actions = model.config.actions
    if actions.discrete:
        return torch.zeros(1, frames, dtype=torch.int64, device=model.device)
    return torch.tensor(actions.low, device=model.device).expand(1, frames, -1)


def _now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given."""
    synchronize(device)
    return time.perf_counter()


def _limit_memory(most_bytes: int) -> None:
    """Let this process fail to allocate, rather than the system end some process or other."""
    import resource  # not on Windows

    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes or physical * 3 // 4, hard))


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
