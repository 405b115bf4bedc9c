"""A suite as plain data: the rollouts, what is trained on them, and what is then measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUPS = ("baselines", "ablations", "schemes", "beyond", "actions")


@dataclass(frozen=True)
class Rollouts:
    """Episodes to learn from or to measure on; the arguments of `dreamenv.rollouts.collect`."""

    name: str
    """Of the store's folder."""
    env_id: str
    episodes: int
    episode_steps: int
    """Steps of every episode, made its time limit."""
    policies: dict[str, float]
    """Policy specs and their weights."""
    seed: int
    record_info: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Environment steps in all."""
        return self.episodes * self.episode_steps


@dataclass(frozen=True)
class Task:
    """A measurement; `settings` are arguments of the task of that kind (see `tasks.KINDS`)."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    rollouts: Rollouts | None = None
    """What it is done on, if not the suite's held-out rollouts."""


@dataclass(frozen=True)
class Cell:
    """One row of the tables: a model and how it is trained, as changes of the suite's common ones.

    The model is the baseline's configuration with `architecture` laid over it; `training` is laid
    over the suite's. Both are nested plain data.
    """

    name: str
    label: str
    """In tables and plots."""
    groups: tuple[str, ...]
    """Which tables show it, of `GROUPS`."""
    baseline: str = "ours"
    """Of `experiments.baselines.BASELINES`."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """Changes of `WorldModelConfig`."""
    training: dict[str, Any] = field(default_factory=dict)
    """Changes of `TrainConfig`."""
    tasks: tuple[str, ...] = ()
    """Names among the suite's tasks; none: the suite's `default_tasks`."""


@dataclass(frozen=True)
class Suite:
    """A grid of cells that share data, tokenizer, number of updates and measurements."""

    name: str
    data: Rollouts
    held_out: Rollouts
    """What training and tasks are measured on."""
    preset: str
    window: int
    """Frames before its own that the windowed baselines see."""
    training: dict[str, Any]
    """Fields of `TrainConfig` common to all cells, nested plain data."""
    tasks: dict[str, Task]
    default_tasks: tuple[str, ...]
    cells: tuple[Cell, ...]
    architecture: dict[str, Any] = field(default_factory=dict)
    """Changes of the preset's `WorldModelConfig` for all cells."""
    tokenizer_from: str = ""
    """A checkpoint whose tokenizer all cells use, such as "bundled:memory_maze_9x9"; by default
    one is trained on the rollouts, as `training["tokenizer"]` says."""
    seeds: tuple[int, ...] = (0,)
    reference: str = "ours"
    """The cell that the others are compared with."""
    dtype: str = "float32"
    """Of matrix products while measuring."""
    results: str = ""
    """Folder of the results, tables and plots; by default in the working folder."""
    cost: str = ""
    """File of cost curves that are rendered beside them, if it exists (see `cost`)."""
    page: str = ""
    """A Markdown page whose tables are filled in, if it exists."""

    def rollouts_of(self, task: str) -> Rollouts:
        """What a task is done on."""
        return self.tasks[task].rollouts or self.held_out

    @property
    def rollouts(self) -> dict[str, Rollouts]:
        """All that the suite needs, by name."""
        used = (self.data, self.held_out, *map(self.rollouts_of, self.tasks))
        return {rollouts.name: rollouts for rollouts in used}
