"""What the parts of the GPU script share: its model, its dreams, its clock."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from dreamenv.core.machine import synchronize
from dreamenv.world_model.checkpoint import checkpoint_folder, load_world_model
from dreamenv.world_model.model import WorldModel

Part = Callable[[argparse.Namespace, torch.device], dict[str, Any]]
"""A measurement: options and device → its result, as plain data."""
MANY_SLOTS = 256


class LeftOutError(Exception):
    """A part needs what this machine does not have."""


def require_cuda(device: torch.device) -> None:
    """Leave the part out where there is no CUDA."""
    if device.type != "cuda":
        raise LeftOutError("needs CUDA")


def checkpoint_model(args: argparse.Namespace, device: torch.device) -> WorldModel:
    """The checkpoint in float32."""
    return load_world_model(checkpoint_folder(args.checkpoint), device)


def new_dream(args: argparse.Namespace, slots: int, passes: int | None = None) -> Any:
    """Dreams that hardly end, just reset."""
    from dreamenv.dream.vector_env import DreamVectorEnv

    env = DreamVectorEnv(
        slots, args.checkpoint, device=args.device, denoising_steps=passes, horizon=10**6
    )
    env.action_space.seed(0)
    env.reset(seed=0)
    return env


def take_steps(env: Any, count: int) -> None:
    """So many steps under random actions."""
    for _ in range(count):
        env.step(env.action_space.sample())


def timed(run: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Median seconds, after four runs that are not timed."""
    for _ in range(4):
        run()
    seconds = []
    for _ in range(rounds):
        synchronize(device)
        began = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
