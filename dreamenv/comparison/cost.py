"""What memory costs: training against the length of sequences, stepping against the frame index.

`measure_cost` stores a JSON object. Its lists of readings hold everything measured; the rest
follows from them.

    command         how it was measured
    machine         processor, cores, device, versions
    settings        the `CostConfig`; stepping and training share the architecture `base`
    models          name → {"parameters": of the dynamics, "tokens": per frame}
    matmul_gflops   [{"round", "float32", "bfloat16"}], a yardstick of the machine, per round
    training        [{"model", "frames", "round", "seconds": [of each iteration], "peak_bytes"}]
                    or, where it was not measured, {…, "left_out": why} without the last two
    stepping        [{"model", "frames", "round", "seconds": [of each step], "state_bytes"}]
    medians         model → {"training": [{"frames", "seconds", "peak_bytes"}],
                    "stepping": [{"frames", "seconds", "state_bytes"}]}, of the rounds' medians
    exponents       model → {"training_seconds", "peak_bytes", "step_seconds", "state_bytes"} →
                    {"mean", "low", "high", "from", "to"}

`seconds` of training: forward, backward and optimiser step on one row of random latents, without
the tokenizer. `peak_bytes` on the CPU: how much further the process's largest resident size
(`ru_maxrss`) rose than its value before the first such iteration, which comes after one iteration
on two frames; so it leaves out weights and optimiser state, which no length changes, and counts
activations, gradients and temporary tensors. On CUDA the same of torch's allocated bytes.
Every reading of training is taken in a process of its own that has run nothing else.

`seconds` of stepping: `WorldModel.imagine` for one slot, K denoising passes, one that writes and
the decoder, from frame `frames` on. The memory is filled by observing random latents; a cache that
grows is observed up to the first index and repeated from there, as its values change no time.

Models take turns within a round, because machines are noisy. An exponent is the slope of log value
against log frames, of medians over rounds, from the least frames that it states; its interval is
95 % of a bootstrap that draws rounds.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dreamenv.errors import CheckpointError, ConfigError
from dreamenv.evaluation.bootstrap import statistic_interval
from dreamenv.evaluation.machine import machine, matmul_rate, synchronize
from dreamenv.files import atomic_write_json
from dreamenv.training.optimizer import Optimizer
from dreamenv.world_model.config import DynamicsConfig, WorldModelConfig
from dreamenv.world_model.device import pick_device
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from dreamenv.world_model.rivals import dynamics_parameters, rival
from dreamenv.world_model.state import GROWING, State

MODELS = ("ours", "causal_full", "causal_window")
PIECE = 256
"""Frames observed at once while a memory is filled."""


def _small_base() -> WorldModelConfig:
    """Small enough that a CPU bears full attention over 1,000 frames of 4 tokens."""
    blocks = ((2, 2), (1, 1), (2, 2), (1, 1))
    return WorldModelConfig(dynamics=DynamicsConfig(width=128, scan_blocks=blocks, patch=2))


@dataclass(frozen=True)
class CostConfig:
    """What is measured, and how often."""

    base: WorldModelConfig = field(default_factory=_small_base)
    """The architecture of `ours`; the other models are its rivals."""
    window: int = 16
    """Frames that causal_window sees."""
    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Frames per training sequence, ascending."""
    indices: tuple[int, ...] = (10, 100, 1000, 10_000)
    """Frames in memory when steps are timed, ascending."""
    length_from: int = 256
    """Least length that the exponents of training are fitted to."""
    index_from: int = 100
    """Least index that the exponents of stepping are fitted to."""
    rounds: int = 5
    iterations: int = 5
    """Training iterations per reading, unless they take longer than `reading_seconds`."""
    reading_seconds: float = 2.0
    steps: int = 10
    """Timed steps per reading."""
    most_seconds: float = 30.0
    """A length is left out if an iteration, growing with the square, would take longer."""
    most_bytes: int = 0
    """What a training process may allocate on the CPU; 0: three quarters of the main memory."""
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("lengths", "indices"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)) or min(values, default=0) < 2:
                raise ConfigError(f"cost: {name} must ascend from at least 2, got {values}")
        if min(self.rounds, self.iterations, self.steps, self.threads) < 1:
            raise ConfigError(f"cost: rounds, iterations, steps, threads ≥ 1, got {self}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"cost: dtype is float32 or bfloat16, not {self.dtype!r}")

    def architectures(self) -> dict[str, WorldModelConfig]:
        """Configuration of each of `MODELS`."""
        return {name: rival(name, self.base, self.window) for name in MODELS}


def quick(config: CostConfig) -> CostConfig:
    """`config` with so little to measure that it takes seconds: proves the path, says nothing."""
    dynamics = dataclasses.replace(
        config.base.dynamics, width=32, scan_blocks=((2, 2), (1, 1)), ssm_state_dim=16
    )
    base = dataclasses.replace(config.base, dynamics=dynamics)
    return dataclasses.replace(
        config, base=base, window=4, lengths=(8, 16), indices=(4, 8), length_from=8, index_from=4,
        rounds=2, iterations=2, steps=2,
    )  # fmt: skip


def measure_cost(
    config: CostConfig, path: Path, command: str, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure and store; what `path` already holds of the same measurement is not done again.

    Args:
        config: what to measure.
        path: the JSON file, written after every reading.
        command: how the user started this; stored.
        report: called with a line per reading.

    Raises:
        ConfigError: `path` holds a measurement with other settings, or from another machine.
        CheckpointError: `path` is damaged.
    """
    result = _begin(config, path, command)
    for round_ in range(config.rounds):
        for reading in _missing(config, result, round_):
            kind, values = reading
            result[kind] += values
            atomic_write_json(path, result)
            for value in values:
                report(_line(kind, value))
    if "exponents" not in result:
        result["medians"] = {name: _medians(result, name) for name in MODELS}
        result["exponents"] = {name: _exponents(config, result, name) for name in MODELS}
        atomic_write_json(path, result)
    return result


def _begin(config: CostConfig, path: Path, command: str) -> dict[str, Any]:
    """What stands in `path`, or an empty measurement."""
    architectures = config.architectures()
    latents = config.base.token_grid[0] * config.base.token_grid[1]
    result: dict[str, Any] = {
        "command": command,
        "machine": machine(config.device),
        "settings": json.loads(json.dumps(dataclasses.asdict(config))),
        "models": {
            name: {"parameters": dynamics_parameters(architecture), "tokens": latents}
            for name, architecture in architectures.items()
        },
        "matmul_gflops": [],
        "training": [],
        "stepping": [],
    }
    if not path.exists():
        return result
    try:
        before = json.loads(path.read_text())
        for part in ("settings", "machine"):
            if before[part] != result[part]:
                raise ConfigError(
                    f"{path} was measured with other {part}; delete it, or write to another file"
                )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}); delete it") from error
    return before


def _missing(
    config: CostConfig, result: dict[str, Any], round_: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Take what `result` lacks of a round, reading by reading; models take turns."""
    done = {
        (kind, r["round"], r.get("model"), r.get("frames"))
        for kind in ("matmul_gflops", "training", "stepping")
        for r in result[kind]
    }
    if ("matmul_gflops", round_, None, None) not in done:
        yield "matmul_gflops", [{"round": round_, **_alone(_yardstick, config)}]
    architectures = config.architectures()
    for frames in config.lengths:
        for name, architecture in architectures.items():
            if ("training", round_, name, frames) in done:
                continue
            why = _too_long(config, result["training"], name, frames)
            measured = {"left_out": why} if why else _alone(
                train_reading, config, architecture, frames
            )  # fmt: skip
            yield "training", [{"model": name, "frames": frames, "round": round_, **measured}]
    if ("stepping", round_, MODELS[0], config.indices[0]) not in done:
        readings = _alone(step_readings, config)
        yield "stepping", [{**reading, "round": round_} for reading in readings]


def _too_long(
    config: CostConfig, readings: list[dict[str, Any]], name: str, frames: int
) -> str | None:
    """Why a sequence of `frames` is left out, judged by the shorter ones of the same model."""
    for reading in readings:
        if reading["model"] != name or reading["frames"] > frames:
            continue
        if "left_out" in reading:
            return reading["left_out"]
        expected = min(reading["seconds"]) * (frames / reading["frames"]) ** 2
        ...
    return None


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that has run nothing before.

    Its memory is its own: a forked server that has only imported this module forks it. (A process
    started from this one would inherit this one's largest size so far as its own.)
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
