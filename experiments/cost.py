"""What memory costs: training against the length of sequences, stepping against the frame index.

`measure_cost` stores a JSON object. Its lists of readings hold all that was measured, and the rest
follows from them:

    command         how it was measured
    machine         processor, cores, device, versions
    settings        the `CostConfig`
    models          name → {"parameters": of the dynamics, "tokens": per frame}
    matmul_gflops   [{"round", "float32", "bfloat16"}], a yardstick of the machine
    training        [{"model", "frames", "round", "seconds": [each iteration], "peak_bytes"}], or
                    {"model", "frames", "round", "left_out": why} where it was not measured
    stepping        [{"model", "frames", "round", "seconds": [each step], "state_bytes"}]
    medians         model → {"training": [{"frames", "seconds", "peak_bytes"}],
                    "stepping": [{"frames", "seconds", "state_bytes"}]}
    exponents       model → {"training_seconds", "peak_bytes", "step_seconds", "state_bytes"}, each
                    {"mean", "low", "high", "from", "to"}; None without two points above zero

`seconds` of training: forward, backward and optimiser, on one row of random latents, without the
tokenizer. `peak_bytes` on the CPU: how far the largest resident size of the process (`ru_maxrss`)
rose above its value before these iterations, but after one on two frames. So it holds activations,
gradients and temporary tensors, and leaves out weights and the optimiser's state. On CUDA it is
the same of torch's allocated bytes. Each reading of training has a process of its own.

`seconds` of stepping: `WorldModel.imagine` in one slot from frame `frames` on: the denoising
passes, the one that writes, and the decoder. The memory is filled by observing random latents; a
cache that grows is observed up to the first index and repeated from there.

Models take turns and everything is measured in several rounds, because machines are noisy. A
median is over rounds, of each round's median. An exponent is the slope of log value against log
frames over the frames "from" … "to", by least squares on the medians; "low" and "high" bound 95 %
of what a bootstrap finds that draws rounds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import machine
from dreamenv.core.plain import from_plain
from dreamenv.core.reading import read_object
from dreamenv.core.statistics import statistic_interval
from dreamenv.training.fit_config import overlay
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.presets import preset
from experiments.baselines import baseline, dynamics_parameters
from experiments.cost_readings import (
    Conditions,
    alone,
    step_readings,
    train_reading,
    yardstick,
)
from experiments.suites import MEMORY_MAZE

MODELS = ("ours", "causal_full", "causal_window")
CURVES = {
    "training_seconds": ("training", "seconds"),
    "peak_bytes": ("training", "peak_bytes"),
    "step_seconds": ("stepping", "seconds"),
    "state_bytes": ("stepping", "state_bytes"),
}
"""Name of an exponent → the list it is fitted to, and the key in it."""

Reading = dict[str, Any]


def _suite_base() -> WorldModelConfig:
    plain = preset(MEMORY_MAZE.preset).to_dict()
    return WorldModelConfig.from_dict(overlay(plain, MEMORY_MAZE.architecture))


def _suite_objective() -> ObjectiveConfig:
    return from_plain(ObjectiveConfig, MEMORY_MAZE.training["objective"])


@dataclass(frozen=True)
class CostConfig:
    """What is measured, and how often; by default, models of the `memory-maze` suite."""

    base: WorldModelConfig = field(default_factory=_suite_base)
    """The architecture of `ours`; the other models are its baselines."""
    window: int = MEMORY_MAZE.window
    """Frames before its own that causal_window sees."""
    objective: ObjectiveConfig = field(default_factory=_suite_objective)
    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Frames per training sequence, ascending."""
    indices: tuple[int, ...] = (10, 100, 1000, 10_000)
    """Frames in memory when steps are timed, ascending."""
    lengths_from: int = 256
    """Least length that the exponents of training are fitted to; overheads rule below."""
    indices_from: int = 100
    """Least index that the exponents of stepping are fitted to."""
    rounds: int = 5
    iterations: int = 5
    """Training iterations per reading, unless they take longer than `reading_seconds`."""
    reading_seconds: float = 2.0
    steps: int = 10
    """Timed steps per reading."""
    most_seconds: float = 40.0
    """A length is left out if an iteration would take longer, were it to grow with the square."""
    matmul_size: int = 2048
    """Side of the matrices of the yardstick."""
    conditions: Conditions = field(
        default_factory=lambda: Conditions(dtype=MEMORY_MAZE.training["dtype"])
    )

    def __post_init__(self) -> None:
        for name in ("lengths", "indices"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)) or min(values, default=0) < 2:
                raise ConfigError(f"{name} must ascend from 2 or more frames, got {values}")
        if min(self.rounds, self.iterations, self.steps) < 1:
            raise ConfigError(f"rounds, iterations and steps must be at least 1: {self}")

    def architectures(self) -> dict[str, WorldModelConfig]:
        """The configuration of each of `MODELS`."""
        return {name: baseline(name, self.base, self.window) for name in MODELS}

    def quick(self) -> CostConfig:
        """So little that it takes seconds: it proves that measuring works, and shows nothing."""
        dynamics = dataclasses.replace(
            self.base.dynamics, width=32, scan_blocks=((2, 2),), ssm_state_dim=8
        )
        return dataclasses.replace(
            self, base=dataclasses.replace(self.base, dynamics=dynamics), window=2,
            lengths=(8, 16), indices=(4, 8), lengths_from=8, indices_from=4,
            rounds=2, iterations=1, steps=1, most_seconds=1e9, matmul_size=64,
        )  # fmt: skip


def measure_cost(
    config: CostConfig, path: Path, command: str, report: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure and store; what `path` already holds of the same measurement is not done again.

    Args:
        config: what to measure.
        path: the JSON file, written after every reading.
        command: how the user began this.
        report: takes a line per reading.

    Raises:
        ConfigError: `path` was measured with other settings, or on another machine.
        CheckpointError: `path` is damaged.
    """
    architectures = config.architectures()
    result = _begin(config, architectures, path, command)
    for round_ in range(config.rounds):
        for kind, readings in _missing(config, architectures, result, round_):
            result[kind] += readings
            atomic_write_json(path, result)
            for reading in readings:
                report(_line(kind, reading))
    result["medians"] = {name: _medians(result, name) for name in MODELS}
    result["exponents"] = {
        name: {curve: _exponent(config, result, name, curve) for curve in CURVES} for name in MODELS
    }
    atomic_write_json(path, result)
    return result


def _begin(
    config: CostConfig, architectures: dict[str, WorldModelConfig], path: Path, command: str
) -> dict[str, Any]:
    """What stands in `path`, or a measurement without readings."""
    rows, columns = config.base.token_grid
    models = {
        name: {"parameters": dynamics_parameters(architecture), "tokens": rows * columns}
        for name, architecture in architectures.items()
    }
    begun: dict[str, Any] = {
        "command": command,
        "machine": machine(config.conditions.device),
        "settings": json.loads(json.dumps(dataclasses.asdict(config))),
        "models": models,
        "matmul_gflops": [],
        "training": [],
        "stepping": [],
    }
    if not path.exists():
        return begun
    try:
        before = read_object(path)
        same = {name: before[name] == begun[name] for name in ("settings", "machine")}
        found = {name: before[name] for name in begun}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}); delete it") from error
    if not all(same.values()):
        other = " and ".join(name for name, equal in same.items() if not equal)
        raise ConfigError(f"{path} was measured with other {other}; delete it or name another file")
    return found


def _missing(
    config: CostConfig,
    architectures: dict[str, WorldModelConfig],
    result: dict[str, Any],
    round_: int,
) -> Iterator[tuple[str, list[Reading]]]:
    """Take the readings of a round that `result` lacks, and say in which list they belong."""
    done = {
        (kind, reading.get("model"), reading.get("frames"))
        for kind in ("matmul_gflops", "training", "stepping")
        for reading in result[kind]
        if reading["round"] == round_
    }
    if ("matmul_gflops", None, None) not in done:
        rates = alone(yardstick, config.matmul_size, config.conditions)
        yield "matmul_gflops", [{"round": round_, **rates}]
    for frames in config.lengths:
        for name, architecture in architectures.items():
            if ("training", name, frames) not in done:
                reading = _too_long(config, result["training"], name, frames) or alone(
                    train_reading, architecture, config.objective, frames, config.iterations,
                    config.reading_seconds, config.conditions,
                )  # fmt: skip
                where = {"model": name, "frames": frames, "round": round_}
                yield "training", [{**where, **reading}]
    if ("stepping", MODELS[0], config.indices[0]) not in done:
        readings = alone(
            step_readings, architectures, config.indices, config.steps, config.conditions
        )
        yield "stepping", [{**reading, "round": round_} for reading in readings]


def _too_long(
    config: CostConfig, readings: list[Reading], name: str, frames: int
) -> Reading | None:
    """That a sequence is left out, if the model's longest reading up to it says so."""
    shorter = [r for r in readings if r["model"] == name and r["frames"] <= frames]
    if not shorter:
        return None
    longest = max(shorter, key=lambda r: r["frames"])
    if "left_out" in longest:
        return {"left_out": longest["left_out"]}
    expected = min(longest["seconds"]) * (frames / longest["frames"]) ** 2
    if longest["frames"] == frames or expected <= config.most_seconds:
        return None
    return {"left_out": f"might take {expected:.0f} s an iteration"}


def _medians(result: dict[str, Any], name: str) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {"training": [], "stepping": []}
    for kind, key in (("training", "peak_bytes"), ("stepping", "state_bytes")):
        readings = _measured(result, kind, name)
        for frames in sorted({r["frames"] for r in readings}):
            here = [r for r in readings if r["frames"] == frames]
            medians = {k: float(np.median([_value(r, k) for r in here])) for k in ("seconds", key)}
            found[kind].append({"frames": frames, **medians})
    return found


def _exponent(
    config: CostConfig, result: dict[str, Any], name: str, curve: str
) -> dict[str, Any] | None:
    """Slope of log value against log frames."""
    kind, key = CURVES[curve]
    least = config.lengths_from if kind == "training" else config.indices_from
    readings = [r for r in _measured(result, kind, name) if r["frames"] >= least]
    frames = np.array([r["frames"] for r in readings])
    values = np.array([_value(r, key) for r in readings])
    points = np.unique(frames)
    if len(points) < 2 or values.min() <= 0:
        return None

    def slope(index: np.ndarray) -> float:
        drawn, drawn_frames = values[index], frames[index]
        medians = [np.median(drawn[drawn_frames == point]) for point in points]
        x = np.log(points) - np.log(points).mean()
        return float(x @ np.log(medians) / (x @ x))

    rounds = np.array([r["round"] for r in readings])
    interval = statistic_interval(slope, rounds).to_json()
    return {**interval, "from": int(points[0]), "to": int(points[-1])}


def _measured(result: dict[str, Any], kind: str, name: str) -> list[Reading]:
    return [r for r in result[kind] if r["model"] == name and "left_out" not in r]


def _value(reading: Reading, key: str) -> float:
    return float(np.median(reading[key]))


def _line(kind: str, reading: Reading) -> str:
    parts = [f"round {reading['round'] + 1} {kind}"]
    if kind == "matmul_gflops":
        parts += [f"{dtype} {reading[dtype]:.0f}" for dtype in ("float32", "bfloat16")]
    else:
        parts += [reading["model"], f"{reading['frames']} frames"]
    if "seconds" in reading:
        held = reading["peak_bytes" if kind == "training" else "state_bytes"]
        parts += [f"{_value(reading, 'seconds'):.4f} s", f"{held / 2**20:.1f} MiB"]
    return ", ".join(parts + ([reading["left_out"]] if "left_out" in reading else []))
