"""From a suite to the jobs that do it, each checked before anything is collected or trained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.errors import ConfigError
from dreamenv.core.plain import from_plain
from dreamenv.training.config import TrainConfig
from dreamenv.training.fit_config import FITTED, overlay
from dreamenv.training.held_out import CONTEXT, HORIZON
from dreamenv.training.plan import require_trainable
from dreamenv.world_model.checkpoint import checkpoint_folder, read_config
from dreamenv.world_model.config import ActionConfig, WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.presets import preset
from experiments.baselines import baseline
from experiments.job import RUN, Job, fingerprint
from experiments.suite import GROUPS, Cell, Rollouts, Suite
from experiments.tasks import KINDS, complete

HOW = (
    *("data", "held_out", "out", "latents", "architecture", "tokenizer_from"),
    *("threads", "device", "compile", "log_every", "evaluate_every", "checkpoint_every"),
    *("spawns", "spawn_frames", "seed"),
)
"""Fields of `TrainConfig` that say where and how a run is done, or that a job states itself."""
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Grid:
    """A suite laid out in a folder: `rollouts`, `tokenizer`, `latents`, `jobs`.

    `data` says where the rollouts are if not there.
    """

    suite: Suite
    out: Path
    data: Path | None = None

    def store(self, rollouts: Rollouts) -> Path:
        """Folder of a rollout store."""
        return (self.data or self.out / "rollouts") / rollouts.name

    def cell(self, name: str) -> Cell:
        """The cell of that name.

        Raises:
            ConfigError: there is none.
        """
        for cell in self.suite.cells:
            if cell.name == name:
                return cell
        names = ", ".join(cell.name for cell in self.suite.cells)
        raise ConfigError(f"the suite {self.suite.name} has no cell {name!r}; it has {names}")

    def jobs(
        self, seeds: Sequence[int] | None = None, only: Sequence[str] | None = None
    ) -> list[Job]:
        """A job for every cell and seed; all cells with the first seed come first.

        Args:
            seeds: by default the suite's.
            only: names of cells, by default all.
        """
        cells = [self.cell(name) for name in only] if only else list(self.suite.cells)
        return [self.job(cell, seed) for seed in seeds or self.suite.seeds for cell in cells]

    def job(self, cell: Cell, seed: int) -> Job:
        """The job that trains and measures a cell with a seed."""
        suite, config = self.suite, dataclasses.asdict(self.train_config(cell, seed))
        tasks = {
            name: {
                "kind": suite.tasks[name].kind,
                "settings": complete(suite.tasks[name]),
                "rollouts": dataclasses.asdict(suite.rollouts_of(name)),
            }
            for name in cell.tasks or suite.default_tasks
        }
        return Job(
            cell.name,
            seed,
            self.out / "jobs" / cell.name / f"seed{seed}",
            {
                "seed": seed,
                "data": dataclasses.asdict(suite.data),
                "tokenizer_from": suite.tokenizer_from,
                "architecture": self._plain_architecture(cell),
                "weights": _weights(self.architecture(cell)),
                "training": {name: value for name, value in config.items() if name not in HOW},
            },
            {"dtype": suite.dtype, "tasks": tasks},
        )

    def tokenizer_job(self) -> Job:
        """The job that trains the tokenizer of all cells."""
        suite, config = self.suite, self.tokenizer_config()
        return Job(
            TOKENIZER,
            config.seed,
            self.out / TOKENIZER,
            {
                "data": dataclasses.asdict(suite.data),
                "preset": suite.preset,
                "architecture": self.architecture(suite.cells[0]).to_dict()["tokenizer"],
                "training": dataclasses.asdict(config.tokenizer),
                "dtype": config.dtype,
            },
            {},
        )

    def tokenizer_config(self) -> TrainConfig:
        """A run that trains the tokenizer, encodes the rollouts, and hardly anything else."""
        first = self.train_config(self.suite.cells[0], seed=0)
        return dataclasses.replace(
            first,
            out=first.tokenizer_from,
            tokenizer_from="",
            segments=1,
            state_reset=0.0,
            dynamics=dataclasses.replace(first.dynamics, steps=1),
        )

    def train_config(self, cell: Cell, seed: int) -> TrainConfig:
        """What `dreamenv.training.train.train_world_model` is told.

        Raises:
            ConfigError: the cell's changes do not fit; begins with its name.
        """
        suite = self.suite
        try:
            plain = dataclasses.asdict(TrainConfig(data="", held_out="", out=""))
            for changes in (suite.training, cell.training):
                plain = overlay(plain, changes)
            # Whole paths: a run refuses to go on with a tokenizer from another one.
            out = self.out.resolve()
            return from_plain(
                TrainConfig,
                plain
                | {
                    "data": str(self.store(suite.data)),
                    "held_out": str(self.store(suite.held_out)),
                    "out": str(out / "jobs" / cell.name / f"seed{seed}" / "run"),
                    "preset": suite.preset,
                    "architecture": self._plain_architecture(cell),
                    "tokenizer_from": suite.tokenizer_from or str(out / TOKENIZER / RUN),
                    "latents": str(out / "latents"),
                    "seed": seed,
                },
            )
        except ConfigError as error:
            raise ConfigError(f"cell {cell.name!r}: {error}") from error

    def architecture(self, cell: Cell) -> WorldModelConfig:
        """The cell's model, for poses or actions and rewards of any extent.

        Raises:
            ConfigError: there is no such baseline, or the parts do not fit.
        """
        suite, conditioning = self.suite, self._conditioning(cell)
        pose = ActionConfig(low=(0.0,) * 4, high=(1.0,) * 4)
        actions = pose if conditioning == "pose" else ActionConfig(n=6)
        plain = preset(suite.preset, conditioning=conditioning, actions=actions).to_dict()
        if suite.tokenizer_from:
            source, _ = read_config(checkpoint_folder(suite.tokenizer_from))
            plain["tokenizer"] = dataclasses.asdict(source.tokenizer)
        base = WorldModelConfig.from_dict(overlay(plain, suite.architecture))
        changed = _baseline(cell.baseline, base, suite.window).to_dict()
        return WorldModelConfig.from_dict(overlay(changed, cell.architecture))

    def check(self) -> None:
        """Refuse a grid in which some cell cannot be trained or measured.

        Raises:
            ConfigError: names the cell and says why.
        """
        names = [cell.name for cell in self.suite.cells]
        for cell in self.suite.cells:
            try:
                if names.count(cell.name) > 1 or cell.name in ("", TOKENIZER):
                    raise ConfigError("the name is taken")
                self._check(cell)
            except ConfigError as error:
                reason = str(error).removeprefix(f"cell {cell.name!r}: ")
                raise ConfigError(f"cell {cell.name!r}: {reason}") from error
        self.cell(self.suite.reference)

    def _check(self, cell: Cell) -> None:
        suite, config = self.suite, self.train_config(cell, seed=0)
        require_trainable(config, self.architecture(cell))
        for group in cell.groups:
            if group not in GROUPS:
                raise ConfigError(f"there is no group {group!r}; there are {', '.join(GROUPS)}")
        infos = config.pose.split(",") if config.conditioning == "pose" else []
        frames = config.window // 2 if config.retrace == 1 else config.window
        _require(suite.data, infos, frames, config.stride, "training")
        _require(suite.held_out, infos, CONTEXT + HORIZON, config.stride, "measuring in training")
        for name in cell.tasks or suite.default_tasks:
            if name not in suite.tasks:
                raise ConfigError(f"there is no task {name!r}; there are {', '.join(suite.tasks)}")
            task = suite.tasks[name]
            settings, kind = complete(task), KINDS[task.kind]
            if kind.conditioning != config.conditioning:
                raise ConfigError(
                    f"the task {name!r} asks by {kind.conditioning}, but the cell is conditioned "
                    f"by {config.conditioning}"
                )
            frames = kind.frames(settings)
            rollouts = suite.rollouts_of(name)
            _require(rollouts, [*infos, *kind.infos], frames, config.stride, f"the task {name!r}")

    def _conditioning(self, cell: Cell) -> str:
        common = self.suite.training.get("conditioning", TrainConfig.conditioning)
        return cell.training.get("conditioning", common)

    def _plain_architecture(self, cell: Cell) -> dict[str, Any]:
        plain = self.architecture(cell).to_dict()
        return {name: value for name, value in plain.items() if name not in FITTED}


_baseline = functools.cache(baseline)  # which builds models to count their parameters


@functools.cache
def _weights(config: WorldModelConfig) -> str:
    """A hash of the names and shapes of all weights: other code may build another model."""
    with torch.device("meta"):
        weights = WorldModel(config).state_dict()
    return fingerprint({name: list(tensor.shape) for name, tensor in weights.items()})


def _require(
    rollouts: Rollouts, infos: Sequence[str], frames: int, stride: int, purpose: str
) -> None:
    missing = [name for name in dict.fromkeys(infos) if name not in rollouts.record_info]
    if missing:
        raise ConfigError(
            f"{purpose} needs the infos {', '.join(missing)}, but the rollouts {rollouts.name!r} "
            f"record {', '.join(rollouts.record_info) or 'none'}"
        )
    span = (frames - 1) * stride + 1
    if span > rollouts.episode_steps + 1:
        raise ConfigError(
            f"{purpose}: {frames} frames at a stride of {stride} span {span} recorded ones, but "
            f"the episodes of {rollouts.name!r} have {rollouts.episode_steps + 1}"
        )
