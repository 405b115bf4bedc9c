"""The kinds of measurement a suite may ask for, and how each is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.memory.clips import POSE
from dreamenv.evaluation.memory.cue_recall import cue_recall
from dreamenv.evaluation.memory.reasoning import reasoning
from dreamenv.evaluation.memory.retrieval import retrieval
from dreamenv.evaluation.memory.revisit import revisit
from dreamenv.evaluation.memory.scores import score_memory
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.real.memory_maze.cues import INFOS
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.model import WorldModel
from experiments.suite import Task


@dataclass(frozen=True)
class Kind:
    """One kind of task."""

    conditioning: str
    """What the model must be conditioned on."""
    function: Callable[..., Any]
    """Draws the task; `cue_recall` does it as well."""
    frames: Callable[[dict[str, Any]], int]
    """Consecutive model frames that one clip takes, by the task's settings."""
    infos: tuple[str, ...] = POSE
    """What the rollouts must have recorded."""


KINDS = {
    "retrieval": Kind("pose", retrieval, lambda settings: settings["context"]),
    "reasoning": Kind("pose", reasoning, lambda s: s["context"] + s["horizon"]),
    "revisit": Kind("action", revisit, lambda s: s["context"] + s["horizon"]),
    "cue_recall": Kind("pose", cue_recall, lambda _: 2, INFOS),
}
GIVEN = ("model", "store", "size", "stride", "progress")
"""Arguments that a suite does not set: they follow from the cell."""


def complete(task: Task) -> dict[str, Any]:
    """The task's settings with the defaults of what it leaves open.

    Raises:
        ConfigError: there is no such kind of task, or it has no such setting.
    """
    if task.kind not in KINDS:
        raise ConfigError(f"there is no task {task.kind!r}; there are {', '.join(KINDS)}")
    parameters = inspect.signature(KINDS[task.kind].function).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in GIVEN}
    for name in task.settings:
        if name not in defaults:
            raise ConfigError(f"{task.kind} has no setting {name!r}; it has {', '.join(defaults)}")
    return defaults | task.settings


def draw(task: Task, store: RolloutStore, size: tuple[int, int], stride: int) -> MemoryTask | None:
    """The clips of a task; None for cue recall, which draws as it goes.

    Args:
        task: its kind and settings.
        store: held-out rollouts.
        size: the model's frame size.
        stride: every so many recorded frames one is shown, where the kind knows strides.

    Raises:
        RolloutError: the rollouts do not hold what the task needs.
    """
    if task.kind == "cue_recall":
        return None
    settings, function = complete(task), KINDS[task.kind].function
    if "stride" in inspect.signature(function).parameters:
        settings["stride"] = stride
    drawn: MemoryTask = function(store, size, **settings)
    return drawn


def measure(
    task: Task, model: WorldModel, store: RolloutStore, stride: int, progress: bool = True
) -> dict[str, Any]:
    """Let a model do a task; its scores as plain data."""
    drawn, settings = draw(task, store, model.config.frame_size, stride), complete(task)
    if drawn is None:
        return cue_recall(model, store, stride=stride, progress=progress, **settings).to_json()
    return score_memory(model, drawn, seed=settings["seed"], keep=0, progress=progress).to_json()
