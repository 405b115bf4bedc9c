"""The interface of a data set that can be imported, and what a user may say about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from gymnasium.spaces import Box

from dreamenv.core.errors import MissingDependencyError, RolloutError
from dreamenv.core.frames import fit_frames
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.spaces import ActionSpace, require_action_space, space_from_dict
from dreamenv.rollouts.timing import Stands

DROP, REPEAT = "drop", "repeat"


@dataclass(frozen=True)
class Said:
    """What a user says of a data set that its files do not.

    Attributes:
        env: id of the environment; "" for what the data set calls it.
        image_key: entry that holds the frames, where there are several.
        actions: "leads" if row t of the actions led to frame t, "follows" if it was chosen there;
            "" for what the format fixes or the files show.
        action_space: plain data of the space (`dreamenv.rollouts.spaces.space_to_dict`); {} for
            what the data set says, or the range of all its actions.
        policy: name of who acted; "" for what the data set says.
        frame_size: height and width that frames are resized to; None for those that come.
        last_step: "drop" steps that lead to a frame that was not recorded, or "repeat" the last
            frame as the one they lead to.
    """

    env: str = ""
    image_key: str = ""
    actions: str = ""
    action_space: dict[str, Any] = field(default_factory=dict)
    policy: str = ""
    frame_size: tuple[int, int] | None = None
    last_step: str = DROP

    @property
    def stands(self) -> Stands | None:
        """Where the actions stand; None if the user did not say."""
        return Stands(self.actions) if self.actions else None

    def fit(self, frames: np.ndarray) -> np.ndarray:
        """Frames (..., H, W, C) in the size that they are to have."""
        return frames if self.frame_size is None else fit_frames(frames, self.frame_size)

    @property
    def space(self) -> ActionSpace | None:
        """The action space; None if the user did not say."""
        if not self.action_space:
            return None
        plain = {"start": 0, "shape": [], "dtype": "float32", **self.action_space}
        if plain.get("type") == "Discrete":
            plain["dtype"] = "int64"
        return require_action_space(space_from_dict(plain))

    def require_used(self, used: frozenset[str], format: str) -> None:
        """Refuse what has no effect.

        Raises:
            RolloutError: names the option.
        """
        for each in fields(self):
            if each.name == "frame_size":  # every format has frames
                continue
            default = {} if each.name == "action_space" else each.default
            if getattr(self, each.name) != default and each.name not in used:
                option = "--" + each.name.replace("_", "-")
                raise RolloutError(f"{option} has no effect on the format {format}; leave it out")


@dataclass(frozen=True)
class Item:
    """One episode of a data set, not read yet."""

    name: str
    """Its name, number or file in the data set: the same whenever it is asked for."""
    load: Callable[[], Episode]
    """Reads it; raises `RolloutError` with file, field and index if it is broken."""


class Source(Protocol):
    """A data set as episodes in the contract of `dreamenv.rollouts.timing`, one at a time.

    Attributes:
        uses: fields of `Said` that its format needs or can make use of.
        env_id: id of the environment.
        observation_space: of the frames as they are stored.
        action_space: of the actions as they are stored.
        details: plain data that a store keeps: how columns stood in time, and what else is known.
        notes: what was left out or changed in the episodes loaded so far, a line each.
    """

    uses: ClassVar[frozenset[str]]
    env_id: str
    observation_space: Box
    action_space: ActionSpace
    details: dict[str, Any]

    def __init__(self, place: str | Path, said: Said) -> None: ...

    def items(self) -> Iterator[Item]:
        """All episodes, always in the same order."""
        ...

    def notes(self) -> list[str]: ...


def missing(package: str, extra: str, what: str) -> MissingDependencyError:
    """An error that says which extra brings a package."""
    return MissingDependencyError(
        f"{what} needs {package}, which is not installed: pip install 'dreamenv[{extra}]'"
    )
