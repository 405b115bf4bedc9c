"""One entry of the queue: something to train and measure once, and its folder on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.locks import locked
from dreamenv.core.reading import read_object

RUN, SCORES, ERROR, SETTINGS = "run", "scores.json", "error.json", "job.json"
LOCK, STALE = "lock", "stale"


def fingerprint(settings: Any) -> str:
    """A short hash of plain data; equal for equal data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Job:
    """A cell of the grid with one seed. It is done when its scores carry its fingerprint.

    The folder holds `run` (the training run, resumable), `scores.json` (the result, or
    `error.json`), `job.json` (the settings that `run` was begun with), `lock` (held by the process
    at work, and released by the operating system when that process dies) and `stale` (what other
    settings left).
    """

    cell: str
    seed: int
    folder: Path
    training: dict[str, Any] = field(repr=False)
    """Everything that decides what is trained; plain data, no paths of this machine."""
    tasks: dict[str, Any] = field(repr=False)
    """Everything that decides what is measured."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.cell}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """Folder of the training run."""
        return self.folder / RUN

    @property
    def fingerprint(self) -> str:
        """Of everything that decides the scores."""
        return fingerprint([self.training, self.tasks])

    def scores(self) -> dict[str, Any] | None:
        """The result, if there is one of these settings."""
        scores = _read(self.folder / SCORES)
        return scores if scores.get("fingerprint") == self.fingerprint else None

    def error(self) -> dict[str, Any] | None:
        """How the last attempt with these settings failed, if it did."""
        error = _read(self.folder / ERROR)
        return error if error.get("fingerprint") == self.fingerprint else None

    def state(self) -> str:
        """`done`, `running`, `failed`, `begun`, `waiting`; `changed`: there are other settings'."""
        if self.scores() is not None:
            return "done"
        if (self.folder / LOCK).exists():
            with self.claimed() as mine:
                if not mine:
                    return "running"
        if self.error() is not None:
            return "failed"
        settings = _read(self.folder / SETTINGS)
        if not settings:
            return "waiting"
        return "begun" if settings["training"] == _plain(self.training) else "changed"

    @contextlib.contextmanager
    def claimed(self, wait: bool = False) -> Iterator[bool]:
        """Hold the job's lock; yields False if another process holds it, unless told to wait."""
        with locked(self.folder / LOCK, wait) as mine:
            yield mine

    def enter(self) -> None:
        """Make the folder fit these settings, with the lock held.

        What was trained with other settings is moved into `stale`; where only the tasks changed
        the trained model stays.
        """
        before = _read(self.folder / SETTINGS)
        if self.folder.exists() and before.get("training") != _plain(self.training):
            self._move_away(RUN, SCORES, ERROR, SETTINGS)
        elif self.scores() is None:
            self._move_away(SCORES)
        settings = {"training": self.training, "tasks": self.tasks}
        atomic_write_json(self.folder / SETTINGS, settings)

    def finish(self, scores: dict[str, Any]) -> None:
        """Store the result."""
        about = {"cell": self.cell, "seed": self.seed, "fingerprint": self.fingerprint}
        atomic_write_json(self.folder / SCORES, {**about, **scores})
        (self.folder / ERROR).unlink(missing_ok=True)

    def fail(self, error: Exception) -> None:
        """Store why it could not be finished."""
        atomic_write_json(
            self.folder / ERROR,
            {
                "fingerprint": self.fingerprint,
                "time": time.time(),
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exception(error),
            },
        )

    def _move_away(self, *names: str) -> None:
        present = [name for name in names if (self.folder / name).exists()]
        if not present:
            return
        number = 1
        while (self.folder / STALE / str(number)).exists():
            number += 1
        place = self.folder / STALE / str(number)
        place.mkdir(parents=True)
        for name in present:
            (self.folder / name).rename(place / name)


def _plain(settings: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(settings))


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and run again") from error
