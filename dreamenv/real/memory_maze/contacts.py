"""Whether the walker touches a target, asked of all contacts at once.

dm_control's `TargetSphere._update_activation` walks through every contact in Python, building an
object for each, and runs for every target after each of the 50 physics steps of one action. That
is two thirds of the time of a Memory Maze step. Here the contacts' geometry ids are compared as
one array; what counts as a touch, and when it is looked for, stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco


def advance(physics: Any, targets: Sequence[Any], substeps: int) -> None:
    """Run physics steps under the control already set, activating each target that is touched.

    Equals `substeps` times dm_control's `Physics.step` followed by every target's
    `after_substep`, including contacts that begin and end between two frames.

    Args:
        physics: `dm_control.mjcf.Physics` of a compiled maze.
        targets: the maze's `TargetSphere` entities, after `initialize_episode`.
        substeps: number of physics steps.

    Raises:
        dm_control.rl.control.PhysicsError: the physics diverged.
    """
    model, data = physics.model.ptr, physics.data.ptr
    with physics.check_invalid_state():
        for _ in range(substeps):
            # dm_control steps in this order so that positions and contacts belong to the new
            # state when the step returns.
            mujoco.mj_step2(model, data)
            mujoco.mj_step1(model, data)
            if data.ncon:
                activate_touched(physics, targets)


def activate_touched(physics: Any, targets: Sequence[Any]) -> None:
    """Activate every target whose sphere takes part in a contact of the present state."""
    geoms = physics.data.ptr.contact.geom  # (contacts, 2) geometry ids
    for target in targets:
        if not target.activated and (geoms == target._geom_id).any():
            target._activated = True
            physics.bind(target.material).rgba[-1] = 0
