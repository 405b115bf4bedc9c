"""A folder of videos, each with a file of actions beside it: what anybody can write.

`NAME.mp4` (mkv, webm, avi, mov) beside `NAME.npz` with `action` or `actions`, and `reward`,
`terminated`, `truncated` if there are any; or `NAME.npy`, the actions alone; or `NAME.csv` with a
header, whose columns `reward`, `terminated`, `truncated` are what they say and whose others are
dimensions of the action.

Time: with one row less than frames, row t **leads from** frame t to frame t + 1. With a row per
frame the user says of all columns whether they lead (`--actions leads`; row 0 is ignored) or
follow (`--actions follows`; the last leads to a frame that was not recorded). Videos are lossy; the
frames stored are those decoded.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.importers.action_range import ActionRange
from dreamenv.rollouts.importers.building import LastSteps, build
from dreamenv.rollouts.importers.columns import Column, frame_space
from dreamenv.rollouts.importers.files import (
    first_file,
    read_array,
    read_arrays,
    relative,
    walk,
)
from dreamenv.rollouts.importers.source import Item, Said
from dreamenv.rollouts.importers.videos import ENDINGS, read_video
from dreamenv.rollouts.timing import Stands

SIGNALS = ("reward", "terminated", "truncated")
BESIDE = (".npz", ".npy", ".csv")


class VideosAndActions:
    """The videos of a folder and the actions beside them."""

    uses: ClassVar[frozenset[str]] = frozenset(
        {"env", "actions", "action_space", "policy", "last_step"}
    )

    def __init__(self, place: str | Path, said: Said) -> None:
        self.place, self._said, self._stands = Path(place), said, said.stands
        self.env_id = said.env or self.place.name
        first = first_file(self.place, *ENDINGS)
        self.observation_space = frame_space(read_video(first, said, most=1))
        space = said.space
        if space is None:
            found = ActionRange()
            for path in walk(self.place, *ENDINGS):
                found.add(columns_beside(path)["action"])
            space = found.space()
        self.action_space = space
        self.details: dict[str, Any] = {"actions": said.actions or "between"}
        self._last = LastSteps(said.last_step)

    def items(self) -> Iterator[Item]:
        """The videos in the order of their names."""
        for path in walk(self.place, *ENDINGS):
            yield Item(relative(path, self.place), partial(self._load, path))

    def notes(self) -> list[str]:
        """What became of last steps."""
        return self._last.notes()

    def _load(self, path: Path) -> Episode:
        columns = columns_beside(path)
        recorded = Column(str(path), "frames", read_video(path, self._said))
        frames = recorded.frames(self.observation_space)
        rows = len(columns["action"])
        if rows == len(frames) and self._stands is None:
            raise columns["action"].error(
                f"has a row for each of {rows} frames; say --actions leads if row t led to frame "
                "t, --actions follows if it was chosen there"
            )
        stands = self._stands or Stands.FOLLOWS
        if rows == len(frames) and stands is Stands.FOLLOWS:
            ends = [columns[name].flags()[-1] for name in SIGNALS[1:] if name in columns]
            reward = columns["reward"].rewards()[-1] if "reward" in columns else 0.0
            self._last.count(float(reward), any(ends))
            frames = self._last.frames(frames)
        steps = {name: column.steps(len(frames), stands) for name, column in columns.items()}
        flags = {name: steps[name].flags() for name in SIGNALS[1:] if name in steps}
        return build(
            frames,
            steps["action"].actions(self.action_space),
            steps["reward"].rewards() if "reward" in steps else None,
            flags.get("terminated"),
            flags.get("truncated"),
            policy=self._said.policy,
        )


def columns_beside(video: Path) -> dict[str, Column]:
    """The actions of a video, and its rewards and flags if there are any.

    Raises:
        RolloutError: there is no such file, or it cannot be read.
    """
    path = next((p for e in BESIDE if (p := video.with_suffix(e)).exists()), None)
    if path is None:
        wanted = " or ".join(video.with_suffix(ending).name for ending in BESIDE)
        raise RolloutError(f"{video}: there are no actions beside it, in {wanted}")
    if path.suffix == ".npy":
        return {"action": Column(str(path), "action", read_array(path))}
    if path.suffix == ".csv":
        return _table(path)
    columns = read_arrays(path)
    named = {name.removesuffix("s") if name in ("actions", "rewards") else name: column
             for name, column in columns.items()}  # fmt: skip
    if "action" not in named:
        raise RolloutError(f"{path}: there is no array 'action'; it has {', '.join(columns)}")
    return {name: named[name] for name in ("action", *SIGNALS) if name in named}


def _table(path: Path) -> dict[str, Column]:
    """The columns of a `.csv`: whole numbers where all are."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            header, *rows = list(csv.reader(file))
        except (ValueError, csv.Error) as error:
            raise RolloutError(f"{path} is no table with a header: {error}") from None
    columns: dict[str, Column] = {}
    for place, name in enumerate(header):
        try:
            values = np.array([float(row[place]) for row in rows])
        except (ValueError, IndexError):
            bad = next(i for i, row in enumerate(rows) if not _is_number(row, place))
            raise RolloutError(f"{path}: {name}[{bad}] is no number") from None
        columns[name] = Column(str(path), name, values)
    parts = [column.values for name, column in columns.items() if name not in SIGNALS]
    if not parts:
        raise RolloutError(f"{path}: no column is an action; it has {', '.join(header)}")
    whole = all((part == np.floor(part)).all() for part in parts) and len(parts) == 1
    action = np.stack(parts, 1).astype(np.int64 if whole else np.float32)
    found = {"action": Column(str(path), "action", action)}
    return found | {name: columns[name] for name in SIGNALS if name in columns}


def _is_number(row: list[str], place: int) -> bool:
    try:
        float(row[place])
    except (ValueError, IndexError):
        return False
    return True
