"""Memory Maze's public offline data: an `.npz` per trajectory.

Time: row t of `action` and `reward` is the *last* action and reward, so they **lead** to
`image[t]`; row 0 of them is zero and says nothing. 1000 steps are 1001 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from gymnasium.spaces import Discrete

from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.building import build
from dreamenv.rollouts.importers.columns import frame_space, infos_of
from dreamenv.rollouts.importers.files import (
    ARRAYS,
    first_file,
    read_arrays,
    relative,
    require,
    walk,
)
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.timing import Stands

STANDS = Stands.LEADS
NOT_INFOS = ("image", "action", "reward", "terminal", "reset")


class MemoryMazeData:
    """The trajectories of a folder; poses, layouts and targets become infos."""

    uses: ClassVar[frozenset[str]] = frozenset({"env", "policy"})

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._policy = Path(place), said.policy
        first = read_arrays(first_file(self.place, ARRAYS), ["image", "action", "maze_layout"])
        size = "x".join(map(str, first["maze_layout"].values.shape[1:3]))
        self.env_id = said.env or f"MemoryMaze-{size}-v0"
        self.observation_space = frame_space(first["image"].frames())
        actions = first["action"].steps(len(first["image"]), STANDS)
        actions.one_hot()
        self.action_space = Discrete(actions.values.shape[1])
        self.details: dict[str, Any] = {"actions": STANDS.value, "rewards": STANDS.value}
        self._left: set[str] = set()

    def items(self) -> Iterator[Item]:
        """The files in the order of their names."""
        for path in walk(self.place, ARRAYS):
            yield Item(relative(path, self.place), partial(self._load, path))

    def notes(self) -> list[str]:
        """The arrays that are no infos."""
        left = ", ".join(sorted(self._left))
        return [f"left out, because they have no row per frame: {left}"] if left else []

    def _load(self, path: Path) -> Episode:
        columns = read_arrays(path)
        require(columns, path, "image", "action", "reward")
        frames = columns["image"].frames(self.observation_space)
        count = len(frames)
        others = {name: column for name, column in columns.items() if name not in NOT_INFOS}
        info, left = infos_of(others, count)
        self._left.update(left)
        terminal = columns.get("terminal")
        action = columns["action"].beside(count).steps(count, STANDS)
        if action.values.shape[1:] != (self.action_space.n,):
            raise action.error(f"has rows of {action.values.shape[1:]}, not {self.action_space.n}")
        return build(
            frames,
            action.one_hot(),
            columns["reward"].beside(count).steps(count, STANDS).rewards(),
            None if terminal is None else terminal.beside(count).steps(count, STANDS).flags(),
            info=info,
            policy=self._policy,
        )
