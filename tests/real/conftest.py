from __future__ import annotations

from collections.abc import Iterator

import pytest

from dreamenv.real.memory_maze.env import MemoryMazeEnv


@pytest.fixture(scope="session")
def shared_maze() -> Iterator[MemoryMazeEnv]:
    """One 9x9 maze for all tests that begin with a reset; building one takes a second."""
    env = MemoryMazeEnv(9, render_mode="rgb_array")
    yield env
    env.close()
