"""TECO's Minecraft and DMLab data (Yan et al., 2022), which the paper trained on.

Minecraft: `{train,test}/WORKER/NNNNNN.mp4` beside `NNNNNN.npz` (`.npy` as its collector writes it)
with `actions` (rows,) int32: 1 forward, 2 left, 3 right. Time: `actions[t]` **leads** to frame t;
`actions[0]` is a dummy 0. Of 300 and 301 rows there are files with either; one row more than frames
leads to a frame that the video lacks.

DMLab: `{train,test}/WORKER/N.npz` with `video` (300, 64, 64, 3) uint8 and `actions` (300,): 0 left,
1 right, 2 forward. Time: `actions[t]` **follows** frame t; the last leads to a frame that was not
recorded.

Neither has rewards or ends: episodes were cut by the collector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from gymnasium.spaces import Discrete

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.building import LastSteps, build
from dreamenv.rollouts.importers.columns import Column, frame_space
from dreamenv.rollouts.importers.files import (
    ARRAYS,
    first_file,
    read_array,
    read_arrays,
    relative,
    walk,
)
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.importers.videos import read_video
from dreamenv.rollouts.timing import Stands


class TecoMinecraft:
    """Videos with the actions beside them. Decoding a video is lossless; its making was not."""

    uses: ClassVar[frozenset[str]] = frozenset({"env", "policy"})
    stands = Stands.LEADS
    names = {1: "forward", 2: "left", 3: "right"}

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._said = Path(place), said
        self.env_id = said.env or "TECO-Minecraft"
        first = first_file(self.place, ".mp4")
        self.observation_space = frame_space(read_video(first, said, most=1))
        self.action_space = Discrete(3, start=1)
        self.details: dict[str, Any] = {"actions": self.stands.value, "action_names": self.names}
        self._longer = 0

    def items(self) -> Iterator[Item]:
        """The videos in the order of their names."""
        for path in walk(self.place, ".mp4"):
            yield Item(relative(path, self.place), partial(self._load, path))

    def notes(self) -> list[str]:
        """Actions that lead to frames that are not there."""
        if not self._longer:
            return []
        return [f"{self._longer} videos end a frame before their actions; those were left out"]

    def _load(self, path: Path) -> Episode:
        actions = actions_beside(path).scalars()
        recorded = Column(str(path), "frames", read_video(path, self._said))
        frames = recorded.frames(self.observation_space)
        if len(actions) == len(frames) + 1:
            actions = replace(actions, values=actions.values[:-1])
            self._longer += 1
        elif len(actions) != len(frames):
            raise RolloutError(
                f"{path}: there are {len(frames)} frames, but {len(actions)} actions in "
                f"{actions.file}; one of the two is cut short"
            )
        if len(actions) and actions.values[0] != 0:
            raise actions.error(f"is {actions.values[0]}, not the dummy 0 of this layout", 0)
        action = actions.steps(len(frames), self.stands).actions(self.action_space)
        return build(frames, action, policy=self._said.policy)


class TecoDMLab:
    """Arrays of frames and actions."""

    uses: ClassVar[frozenset[str]] = frozenset({"env", "policy", "last_step"})
    stands = Stands.FOLLOWS
    names = {0: "left", 1: "right", 2: "forward"}

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._policy = Path(place), said.policy
        self.env_id = said.env or "TECO-DMLab"
        first = read_arrays(first_file(self.place, ARRAYS), ["video"])
        self.observation_space = frame_space(first["video"].frames())
        self.action_space = Discrete(3)
        self.details: dict[str, Any] = {"actions": self.stands.value, "action_names": self.names}
        self._last = LastSteps(said.last_step)

    def items(self) -> Iterator[Item]:
        """The files in the order of their names."""
        for path in walk(self.place, ARRAYS):
            yield Item(relative(path, self.place), partial(self._load, path))

    def notes(self) -> list[str]:
        """What became of last steps."""
        return self._last.notes()

    def _load(self, path: Path) -> Episode:
        columns = read_arrays(path, ["video", "actions"])
        recorded = columns["video"].frames(self.observation_space)
        frames = self._last.frames(recorded)
        action = (
            columns["actions"]
            .beside(len(recorded))
            .steps(len(frames), self.stands)
            .actions(self.action_space)
        )
        self._last.count()
        return build(frames, action, policy=self._policy)


def actions_beside(video: Path) -> Column:
    """The actions of a video, in the `.npz` or `.npy` of its name.

    Raises:
        RolloutError: there are none.
    """
    arrays, array = video.with_suffix(ARRAYS), video.with_suffix(".npy")
    if arrays.exists():
        return read_arrays(arrays, ["actions"])["actions"]
    if array.exists():
        return Column(str(array), "actions", read_array(array))
    raise RolloutError(f"{video}: there are no actions beside it, in {arrays.name} or {array.name}")
