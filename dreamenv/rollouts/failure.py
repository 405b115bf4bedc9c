"""Seeds whose episodes cannot be recorded: what happened, and at which line of whose code."""

from __future__ import annotations

import functools
import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import dreamenv
from dreamenv.core.errors import RolloutError

RESET = -1
"""The step of a failure in `reset`."""
_LONGEST = 500
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_FRAME = re.compile(r'^\s*File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


class EpisodeError(RolloutError):
    """One episode cannot be recorded; those of other seeds may well be.

    Args:
        reason: what is wrong, such as "the reward is nan".
        step: number of the step, from 0; `RESET`; or None, if it is about the whole episode.
        action: the action of that step.
        where: the line of code that raised, "" if none did.
    """

    def __init__(
        self, reason: str, step: int | None = None, action: Any = None, where: str = ""
    ) -> None:
        super().__init__(reason, step, action, where)
        self.reason, self.step, self.where = reason, step, where
        self.action = None if action is None else np.asarray(action).tolist()

    def __str__(self) -> str:
        return _describe(self.reason, self.step, self.action, self.where)


@dataclass(frozen=True)
class Failure:
    """A seed that was skipped. Plain data: it is kept in the store.

    Attributes:
        index: number of the episode among all that were tried, skipped ones included.
        seed: what `env.reset(seed=)` was given.
        policy: spec of the policy that acted.
        reason: what was wrong, without memory addresses, which differ between processes.
        step: the step, from 0; `RESET` for the reset; None for the whole episode.
        action: the action of that step, a number or nested lists; None in the reset.
        where: line of the user's own code, "" if unknown.
        died: whether the worker's process died or hung, rather than that something was raised.
    """

    index: int
    seed: int
    policy: str
    reason: str
    step: int | None = None
    action: Any = None
    where: str = ""
    died: bool = False

    def __str__(self) -> str:
        described = _describe(self.reason, self.step, self.action, self.where)
        return f"episode {self.index} (seed {self.seed}), {described}"

    def to_plain(self) -> dict[str, Any]:
        """The failure as plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any) -> Failure:
        """The inverse of `to_plain`.

        Raises:
            ValueError: it did not give this.
        """
        try:
            failure = cls(**plain)
            whole = type(failure.index) is type(failure.seed) is int
            texts = all(type(t) is str for t in (failure.policy, failure.reason, failure.where))
            step = failure.step is None or type(failure.step) is int
            number = failure.action is None or np.asarray(failure.action).dtype.kind in "biuf"
        except (TypeError, ValueError) as error:
            raise ValueError("this is no failure") from error
        if not (whole and texts and step and number):
            raise ValueError("this is no failure")
        return failure


def failure_of(
    error: EpisodeError, index: int, seed: int, policy: str, died: bool = False
) -> Failure:
    """The failure that an error is kept as."""
    reason = _ADDRESS.sub("0x…", error.reason)
    if len(reason) > _LONGEST:
        reason = reason[:_LONGEST] + "…"
    return Failure(index, seed, policy, reason, error.step, error.action, error.where, died)


def raised(error: BaseException, step: int, action: Any = None) -> EpisodeError:
    """The `EpisodeError` for what an environment or a policy raised."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    frames = [
        (frame.filename, frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return EpisodeError(text, step, action, own_line(frames))


def own_line(frames: Sequence[tuple[str, int, str]]) -> str:
    """The user's own line among (file, line, function), the outermost first.

    It is the innermost one outside installed packages, or, if all are installed, outside this
    package and Gymnasium.
    """
    foreign = [frame for frame in frames if not _within(frame[0], _own_packages())]
    users = [frame for frame in foreign if not _within(frame[0], _installed())]
    for chosen in (users, foreign, list(frames)):
        if chosen:
            file, line, name = chosen[-1]
            code = linecache.getline(file, line).strip()
            return f"{_short(file)}:{line} in {name}" + (f": {code}" if code else "")
    return ""


def line_of_dump(dump: str) -> str:
    """`own_line` of what `faulthandler` wrote of the thread that failed: the innermost first."""
    frames: list[tuple[str, int, str]] = []
    for text in dump.splitlines():
        match = _FRAME.match(text)
        if match:
            frames.insert(0, (match["file"], int(match["line"]), match["name"]))
        elif frames:
            break  # another thread, or another dump
    return own_line(frames)


def _describe(reason: str, step: int | None, action: Any, where: str) -> str:
    place = "" if step is None else "reset: " if step == RESET else f"step {step}: "
    if action is not None:
        short = np.array2string(np.asarray(action), threshold=8, separator=", ")
        place = f"step {step}, action {' '.join(short.split())}: "
    return place + reason + (f" ({where})" if where else "")


def _within(file: str, folders: Sequence[str]) -> bool:
    return file.startswith("<") or any(file.startswith(folder) for folder in folders)


@functools.cache
def _own_packages() -> tuple[str, ...]:
    folders = (Path(module.__file__ or "").parent for module in (dreamenv, gymnasium))
    return tuple(f"{folder}{os.sep}" for folder in folders)


@functools.cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({f"{paths[name]}{os.sep}" for name in names})


def _short(file: str) -> str:
    """The file below the folder it is imported from: a store should not tell where homes lie."""
    folders = [f"{Path(folder).resolve()}{os.sep}" for folder in sys.path]
    best = max((f for f in folders if file.startswith(f)), key=len, default="")
    return file[len(best) :] if best else Path(file).name
