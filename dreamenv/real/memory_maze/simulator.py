"""The Memory Maze simulation: building, seeding, stepping and reading it.

The maze, the walker, the task and their physics come from the packages `memory_maze` and
`dm_control` unchanged. What differs from `memory_maze.tasks` is only how often things are
computed: one shared set of wall textures, no unused observations, one camera per episode.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.memory_maze.simulator_import import import_memory_maze

IMAGE_SIZE = 64
BORDER = 2
# (roll, steer) control of each of `ACTIONS`.
_CONTROLS = np.array([[0, 0], [-1, 0], [0, -1], [0, 1], [-1, -1], [-1, 1]], dtype=np.float64)
_CONTROL_TIMESTEP = 0.25  # seconds, i.e. 4 actions per second
_rendered_in: int | None = None  # the process that has drawn a maze, if one has

# The generator's settings per maze size. 9 to 15 are those of the benchmark (Pasukonis et al.,
# 2022, "Evaluating Long-Term Memory in 3D Mazes"); 7 needs small rooms to leave space for walls.
_GENERATOR = {
    7: {"targets": 2, "max_rooms": 6, "room_max_size": 3},
    9: {"targets": 3, "max_rooms": 6, "room_max_size": 5},
    11: {"targets": 4, "max_rooms": 6, "room_max_size": 5},
    13: {"targets": 5, "max_rooms": 6, "room_max_size": 5},
    15: {"targets": 6, "max_rooms": 9, "room_max_size": 3},
}
SIZES = tuple(_GENERATOR)


class MazeSimulator:
    """One maze world; every reset makes another maze in it.

    Args:
        size: cells along a side, one of 7, 9, 11, 13, 15, outer walls not counted.
        fast_contacts: False steps through dm_control's own loop, for comparison; slower, equal.

    Raises:
        MissingDependencyError: Memory Maze or OpenGL is not installed.
        EnvironmentUsageError: this process was forked from one that has drawn mazes.
    """

    def __init__(self, size: int, fast_contacts: bool = True) -> None:
        _require_own_renderer()
        import_memory_maze()
        # These import MuJoCo, which must find MUJOCO_GL set.
        from dm_control import composer

        from dreamenv.real.memory_maze.contacts import advance

        self.size = size
        self.fast_contacts = fast_contacts
        self._advance = advance
        self._task = _build_task(size)
        self._arena = self._task._maze_arena
        for observable in self._task.observables.values():
            observable.enabled = False
        self._env = composer.Environment(self._task, random_state=np.random.RandomState(0))
        self._camera: Any = None

    def reset(self, seed: int) -> np.ndarray:
        """Begin the episode that `seed` names and return its first frame, (64, 64, 3) uint8.

        The episode is the first one of `memory_maze.tasks.memory_maze_{size}(seed=seed)`,
        whatever was simulated before.

        Args:
            seed: 0 <= seed < 2**32.
        """
        random = self._env.random_state
        random.seed(seed)
        self._arena._maze = _text_maze(self.size, random.randint(2**31))
        for target in self._task._targets:
            # A target touched when the last episode was abandoned must not bias the first draw.
            target._activated = False
        with _without_velocity_warning():
            self._env.reset()
        physics = self._env.physics
        walker = self._task._walker
        self._body = physics.model.name2id(walker.root_body.full_identifier, "body")
        self._camera = self._make_camera()
        cells = np.flip(self._arena.maze.entity_layer[1:-1, 1:-1], axis=0)
        self._layout = np.isin(cells, (" ", "P", "G")).astype(np.uint8)
        return self.frame()

    def step(self, action: int) -> tuple[np.ndarray, float]:
        """Take one action, 0 to 5; returns the next frame and the reward, 0.0 or 1.0."""
        control = _CONTROLS[action]
        if self.fast_contacts:
            physics, random = self._env.physics, self._env.random_state
            self._task.before_step(physics, control, random)
            self._advance(physics, self._task._targets, self._task.physics_steps_per_control_step)
            self._task.after_step(physics, random)
            reward = self._task.get_reward(physics)
        else:
            reward = self._env.step(control).reward
        return self.frame(), float(reward)

    def save(self) -> dict[str, Any]:
        """Everything that a later `restore` in the same episode needs."""
        task, physics = self._task, self._env.physics
        return {
            "data": copy.copy(physics.data.ptr),
            "materials": physics.model.mat_rgba.copy(),
            "random": self._env.random_state.get_state(),
            "target": task._current_target_ix,
            "activated": [target._activated for target in task._targets],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from where `save` was called, as if nothing had happened since."""
        import mujoco

        task, physics = self._task, self._env.physics
        mujoco.mj_copyData(physics.data.ptr, physics.model.ptr, saved["data"])
        physics.model.mat_rgba[:] = saved["materials"]
        self._env.random_state.set_state(saved["random"])
        task._current_target_ix = saved["target"]
        for target, activated in zip(task._targets, saved["activated"], strict=True):
            target._activated = activated

    def frame(self) -> np.ndarray:
        """What the walker sees now, framed in the prompted target's colour: (64, 64, 3) uint8."""
        _require_own_renderer()
        image = np.ascontiguousarray(self._camera.render())
        color = self._task._target_colors[self._task._current_target_ix] * 255 * 0.7
        image[:, :BORDER] = image[:, -BORDER:] = color
        image[:BORDER] = image[-BORDER:] = color
        return image

    def ground_truth(self) -> dict[str, np.ndarray]:
        """Where everything is, in cells from the maze's lower left corner, x first.

        Returns:
            agent_pos (2,) float32; agent_dir (2,) float32 unit vector; maze_layout
            (size, size) uint8, 1 where one can walk, indexed [y, x]; targets_pos (n, 2) float32;
            target_index () int64; target_pos (2,) float32, the prompted target's.
        """
        data = self._env.physics.data
        targets = [data.geom_xpos[target._geom_id] for target in self._task._targets]
        targets_pos = self._to_cells(np.array(targets))
        index = self._task._current_target_ix
        return {
            "agent_pos": self._to_cells(data.xpos[self._body]),
            "agent_dir": data.xmat[self._body].reshape(3, 3)[:2, 1].astype(np.float32),
            "maze_layout": self._layout.copy(),
            "targets_pos": targets_pos,
            "target_index": np.array(index, dtype=np.int64),
            "target_pos": targets_pos[index],
        }

    def close(self) -> None:
        """Free the physics and its rendering context; the simulator is not usable afterwards."""
        self._camera = None
        self._env.close()

    def _to_cells(self, world: np.ndarray) -> np.ndarray:
        return (world[..., :2] / self._arena.xy_scale + self.size / 2).astype(np.float32)

    def _make_camera(self) -> Any:
        from dm_control.mujoco import engine

        global _rendered_in
        _rendered_in = os.getpid()
        camera = self._task._walker.egocentric_camera.full_identifier
        return engine.Camera(self._env.physics, IMAGE_SIZE, IMAGE_SIZE, camera)


def _require_own_renderer() -> None:
    """Refuse to draw where OpenGL would wait for ever for threads that a fork has left behind.

    Raises:
        EnvironmentUsageError: this process was forked from one that has drawn mazes.
    """
    if _rendered_in not in (None, os.getpid()):
        raise EnvironmentUsageError(
            "this process was forked from one that has drawn mazes, and OpenGL does not go on in a "
            'fork; start workers afresh (multiprocessing\'s "spawn", or "forkserver", such as '
            'AsyncVectorEnv(..., context="spawn")), or fork before the first maze is drawn'
        )


def _text_maze(size: int, seed: int) -> Any:
    from memory_maze.maze import TextMazeVaryingWalls

    generator = _GENERATOR[size]
    return TextMazeVaryingWalls(
        height=size + 2,
        width=size + 2,
        max_rooms=generator["max_rooms"],
        room_min_size=3,
        room_max_size=generator["room_max_size"],
        max_variations=26,
        spawns_per_room=1,
        objects_per_room=1,
        simplify=True,
        random_seed=seed,
    )


def _build_task(size: int) -> Any:
    from dm_control.locomotion.arenas.labmaze_textures import WallTextures
    from memory_maze import maze

    generator = _GENERATOR[size]
    # One provider serves all ten kinds of wall: the same choice of textures as ten providers
    # give, with a tenth of the images to compile and to upload at each reset.
    varied = WallTextures("style_01")
    walls = {"*": maze.FixedWallTexture("style_01", "yellow")}
    walls.update({str(kind): varied for kind in range(10)})
    arena = maze.MazeWithTargetsArena(
        x_cells=size + 2,
        y_cells=size + 2,
        xy_scale=2.0,
        z_height=1.5,
        max_rooms=generator["max_rooms"],
        room_min_size=3,
        room_max_size=generator["room_max_size"],
        spawns_per_room=1,
        targets_per_room=1,
        floor_textures=maze.FixedFloorTexture("style_01", ["blue", "blue_bright"]),
        wall_textures=walls,
        random_seed=1,  # replaced at every reset
    )
    return maze.MemoryMazeTask(
        walker=maze.RollingBallWithFriction(camera_height=0.3),
        maze_arena=arena,
        n_targets=generator["targets"],
        target_radius=0.6,
        target_height_above_ground=-0.6,
        control_timestep=_CONTROL_TIMESTEP,
        camera_resolution=IMAGE_SIZE,
    )


@contextlib.contextmanager
def _without_velocity_warning() -> Iterator[None]:
    """Hide dm_control's warning, at each reset, that a rolling ball has no free joint."""

    def keep(record: logging.LogRecord) -> bool:
        return "no free joint" not in record.getMessage()

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
