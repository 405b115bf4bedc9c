"""A curriculum of the dynamics: what changes while they train."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dreamenv.world_model.objective import ObjectiveConfig


@dataclass(frozen=True)
class Curriculum:
    """The length of windows, their segments and the objective of every update.

    The fields are those of `TrainConfig`.
    """

    steps: int
    """Updates of the dynamics in all."""
    window: int
    window_from: int
    window_growth: float
    segments: int
    objective: ObjectiveConfig
    self_forcing_from: float
    shortcut_from: float

    def window_at(self, step: int) -> int:
        """Frames per window at update `step`."""
        if not self.window_from:
            return self.window
        doublings = math.ceil(math.log2(self.window / self.window_from))
        growing = self.window_growth * self.steps
        done = 1.0 if step >= growing else step / growing
        return min(self.window, self.window_from * 2 ** int(done * doublings))

    def segments_at(self, step: int) -> int:
        """Segments of a window at update `step`."""
        return max(1, self.window_at(step) * self.segments // self.window)

    def objective_at(self, step: int) -> ObjectiveConfig:
        """The objective that update `step` minimises."""
        objective = self.objective
        if step < self.self_forcing_from * self.steps:
            objective = replace(objective, self_forcing=0.0)
        if step < self.shortcut_from * self.steps:
            objective = replace(objective, shortcut=0.0)
        return objective
