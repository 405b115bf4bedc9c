"""A voxel world in Luanti as a Gymnasium environment."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentUsageError,
)
from dreamenv.real.luanti import ACTIONS
from dreamenv.real.luanti.game import Game, Told, World, programs
from dreamenv.real.seen import SeenEnv

SIZES = range(32, 513)
TURN = math.radians(20)


class LuantiEnv(SeenEnv):
    """Walk to and fro between two marked blocks in a meadow of hedges, trees and hills.

    The game is Luanti (formerly Minetest), not Minecraft; world, walking and task are ours, in
    Lua. An episode begins at the golden block, looking at it. The cyan one, hidden somewhere in
    the 32 by 32 nodes, pays first: 1.0 on touching it. Then the golden one pays, the block seen
    at the start, then the cyan one again, and so on; nothing shows which is next. So who
    remembers where it saw them, and where it last was, earns the most.

    Observation: (size, size, 3) uint8, the walker's view. Action: 0 forward by half a node,
    1 left and 2 right by 20 degrees, as in the Minecraft data of TECO (Yan et al., 2023); steps
    of one node are climbed. `terminated` is always False: the time limit of the registered id
    ends an episode. `info` tells the ground truth at every reset and step, see `ground_truth`.

    `reset(seed=n)` begins the same world for the same n in [0, 2**31); a larger seed draws the
    world from the environment's generator, as does a reset without one. The same seed and actions
    give the same frames and infos on one machine, bit for bit.

    Args:
        size: pixels along a side of the observation.
        render_mode: None or "rgb_array", which returns the last observation.

    Raises:
        ConfigError: unknown render mode, or a size that is none of 32 to 512.
        MissingDependencyError: Luanti or Xvfb is not installed.
        EnvironmentProcessError: Luanti ended or does not answer; the next reset starts it again.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, size: int = 64, render_mode: str | None = None) -> None:
        if size not in SIZES:
            raise ConfigError(
                f"size is a number of pixels from {SIZES[0]} to {SIZES[-1]}, not {size!r}."
            )
        super().__init__(ACTIONS, size, render_mode)
        programs()
        self.size = size
        self._game: Game | None = None
        self._closed = False
        self._world: World | None = None
        self._told: Told | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; see the class for what `seed` decides. `options` is not used."""
        super().reset(seed=seed)
        if self._closed:
            raise EnvironmentUsageError("This environment was closed; make a new one.")
        if seed is None or seed >= 2**31:
            seed = int(self.np_random.integers(2**31))
        if self._game is None:
            self._game = Game(self.size)
        with self._ending_a_failed_game():
            self._frame, self._world, self._told = self._game.reset(seed)
        return self._frame.copy(), self.ground_truth()

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ResetNeededError: before the first reset.
            InvalidActionError: the action is outside 0 to 2.
        """
        self._require_reset("step")
        number = self._require_action(action)
        assert self._game is not None
        with self._ending_a_failed_game():
            self._frame, self._told = self._game.act(number)
        return self._frame.copy(), self._told.reward, False, False, self.ground_truth()

    def ground_truth(self) -> dict[str, np.ndarray]:
        """Positions in nodes (x, y) from the lower left corner, one node being 1.0.

        Returns:
            agent_pos (2,) float32; agent_dir (2,) float32, the unit vector of walking forward;
            maze_layout (32, 32) uint8, 1 where nothing stands, indexed [y, x]; targets_pos (2, 2)
            float32, the golden block and the cyan one; target_index () int64 and target_pos (2,)
            float32 of the one that pays next. The names are those of Memory Maze.
        """
        self._require_reset("ground_truth")
        told, world = self._told, self._world
        assert told is not None and world is not None
        angle, marks = told.heading * TURN, world.marks.astype(np.float32) + np.float32(0.5)
        return {
            "agent_pos": np.array([told.x + 0.5, told.z + 0.5], np.float32),
            "agent_dir": np.array([-math.sin(angle), math.cos(angle)], np.float32),
            "maze_layout": world.walkable.copy(),
            "targets_pos": marks,
            "target_index": np.array(told.target, np.int64),
            "target_pos": marks[told.target].copy(),
        }

    def close(self) -> None:
        """End the game; safe to call twice."""
        self._closed = True
        self._end_game()

    def _end_game(self) -> None:
        game, self._game, self._frame = self._game, None, None
        if game is not None:
            game.close()

    @contextlib.contextmanager
    def _ending_a_failed_game(self) -> Iterator[None]:
        """End a game that failed, or whose answer nobody waited for; a reset starts another."""
        try:
            yield
        except BaseException:
            self._end_game()
            raise

    def _require_reset(self, call: str) -> None:
        if self._closed:
            raise EnvironmentUsageError("This environment was closed; make a new one.")
        super()._require_reset(call)
