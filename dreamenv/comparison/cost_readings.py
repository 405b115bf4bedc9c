"""Single readings of what a model costs, each to be taken in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from torch import Tensor

from dreamenv.evaluation.machine import synchronize
from dreamenv.training.optimizer import Optimizer
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.device import pick_device
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def train_reading(
    config: WorldModelConfig,
    frames: int,
    iterations: int,
    seconds: float,
    most_bytes: int,
    device: str,
    dtype: str,
    threads: int,
) -> dict[str, Any]:
    """Iterations of training on one sequence: `seconds` of each, and `peak_bytes`.

    Args:
        config: of the model.
        frames: length of the sequence.
        iterations: how many, unless they take longer than `seconds` together.
        seconds: see `iterations`; there is one in any case.
        most_bytes: what the process may allocate in main memory.
        device: a torch device.
        dtype: of matrix products.
        threads: of torch.

    Returns:
        The two, or `left_out` with the reason where memory did not suffice.
    """
    where = pick_device(device)
    model = _model(config, where, dtype, threads)
    optimizer = Optimizer([model.dynamics, model.head], model.dynamics.layers, 0.01)
    generator = torch.Generator().manual_seed(0)

    def iterate(batch: Batch) -> None:
        model.loss(batch, ObjectiveConfig(), generator)["total"].backward()
        optimizer.step(1e-4)

    iterate(_random_batch(model, WARM_UP))
    batch = _random_batch(model, frames)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    before, taken = _peak_bytes(where), []
    try:
        with _limited_memory(most_bytes, where):
            while not taken or (len(taken) < iterations and sum(taken) < seconds):
                taken.append(_timed(lambda: iterate(batch), where))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return {"left_out": f"more memory than there is: {str(error).splitlines()[0]}"}
    return {"seconds": taken, "peak_bytes": _peak_bytes(where) - before}
