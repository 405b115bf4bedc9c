"""Options that a run would ignore: each is refused, or pointed out, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.training.config import TrainConfig
from dreamenv.world_model.config import WorldModelConfig

BESIDE = "tokenizer", "preset"
"""Options that one command line may well give to several runs of which some have no use for them:
pointed out, not refused."""


def options(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of every option of a configuration; those inside others with a dot."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from options(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def without_effect(config: TrainConfig, model: WorldModelConfig) -> dict[str, str]:
    """Map each option that decides nothing in a run of this model, whatever its value, to why."""
    objective, reasons = config.objective, dict[str, str]()

    def unless(holds: bool, why: str, *names: str) -> None:
        if not holds:
            for name in names:
                reasons.setdefault(name, why)

    both_ways = model.dynamics.attention == "bidirectional"
    clean = objective.scheme == "clean_state" and not both_ways
    scheme = "bidirectional attention" if both_ways else f"objective.scheme {objective.scheme}"
    unless(not clean, f"{scheme} keeps no clean prefix", "objective.clean_prefix")
    unless(clean, f"{scheme} writes no frames of its own into the memory",
           "objective.level_grid", "objective.context_noise", "objective.self_forcing",
           "objective.self_forcing_rounds",
           "self_forcing_from")  # fmt: skip
    unless(objective.self_forcing > 0, "objective.self_forcing is 0",
           "objective.self_forcing_rounds", "self_forcing_from")  # fmt: skip
    unless(config.self_forcing_from < 1,
           f"self_forcing begins after self_forcing_from {config.self_forcing_from} of the "
           "updates, when all are done: set self_forcing_from below 1",
           "objective.self_forcing", "objective.self_forcing_rounds")  # fmt: skip
    jumps = "objective.shortcut", "shortcut_from"
    unless(model.dynamics.shortcut_passes > 0,
           "the dynamics have no shortcuts: set dynamics.shortcut_passes in architecture, or "
           "shortcut_passes with weights_from", *jumps)  # fmt: skip
    unless(clean, f"{scheme} teaches no shortcuts", *jumps, "shortcut_passes")
    unless(objective.shortcut > 0, "objective.shortcut is 0: no row learns them",
           "shortcut_from", "shortcut_passes")  # fmt: skip
    unless(config.shortcut_from < 1,
           f"shortcuts begin after shortcut_from {config.shortcut_from} of the updates, when all "
           "are done: set shortcut_from below 1",
           "objective.shortcut", "shortcut_passes")  # fmt: skip
    growing = "window_from", "window_growth"
    unless(not both_ways, "bidirectional attention trains on windows of its own length", *growing)
    unless(config.window_from > 0, "windows do not grow: set window_from", "window_growth")
    unless(config.window_from < config.window, "windows begin with their full length", *growing)
    unless(config.window_growth > 0, "windows have their full length from the start: set "
           "window_growth above 0", "window_from")  # fmt: skip
    unless(config.segments > 1, "windows have one segment: set segments", "state_reset")
    posed = config.conditioning == "pose"
    landmarks = model.dynamics.landmarks.count > 0
    unless(posed, "frames are conditioned on actions: set conditioning pose", "stride", "retrace")
    unless(posed or landmarks, "nothing asks for poses: set conditioning pose, or give the model "
           "landmarks", "pose")  # fmt: skip
    unless(landmarks, "the model has no landmarks: set dynamics.landmarks.count in architecture",
           "pose_drift", "objective.landmark_noise", "objective.landmark_dropout",
           "objective.landmark_share", "objective.landmark_weight",
           "objective.motion_weight")  # fmt: skip
    brought = "weights_from" if config.weights_from else "tokenizer_from"
    own = not (config.weights_from or config.tokenizer_from)
    unless(own, f"the tokenizer of {brought} is used as it is", "moving_pixels",
           *(f"tokenizer.{name}" for name, _ in options(config.tokenizer)))  # fmt: skip
    unless(not config.weights_from, "weights_from brings its architecture",
           "preset", "frame_size")  # fmt: skip
    return reasons


def require_effect(config: TrainConfig, model: WorldModelConfig) -> list[str]:
    """Refuse options that were given for nothing.

    Returns:
        A note on each of those that need no refusal.

    Raises:
        ConfigError: names the first that does, and says why it has no effect.
    """
    defaults = dict(options(TrainConfig("", "", "")))
    notes = []
    reasons = without_effect(config, model)
    for name, value in options(config):
        if name in reasons and value != defaults[name]:
            note = f"{name} {value!r} has no effect: {reasons[name]}"
            if name.split(".")[0] not in BESIDE:
                raise ConfigError(note)
            notes.append(note)
    return notes
