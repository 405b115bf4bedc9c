"""What was measured so far, on disk, so that a measurement that was killed goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import UnreadableFileError
from dreamenv.core.files import atomic_write_bytes, atomic_write_json
from dreamenv.core.reading import parse_json, read_bytes, read_npz
from dreamenv.evaluation.gap.episodes import digest
from dreamenv.evaluation.life.lives import Film

MOST_BYTES = 2**28
"""Of a part, unpacked."""


class Parts:
    """Parts of a measurement by name, each made once.

    Args:
        folder: where they are kept; None keeps nothing.
        identity: plain data that decides what they are; parts of another one are made anew.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        self._folder, self._identity = folder, digest(identity)[:16]

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The part `name`, plain data: what was kept, or what `make` gives."""
        if self._folder is None:
            return json.loads(json.dumps(make()))
        path = self._folder / f"{name}-{self._identity}.json"
        try:
            return parse_json(read_bytes(path, MOST_BYTES))
        except (FileNotFoundError, UnreadableFileError, ValueError):  # it is made again
            made = json.loads(json.dumps(make()))
        atomic_write_json(path, made)
        return made

    def film(self, name: str) -> Film | None:
        """The film kept as `name`, if there is one."""
        if self._folder is None:
            return None
        try:
            found = read_npz(self._film_path(name), ["steps", "real", "dreamt"], MOST_BYTES)
        except (FileNotFoundError, UnreadableFileError):
            return None
        steps = tuple(int(step) for step in found["steps"])
        return Film(steps, found["real"], found["dreamt"])

    def keep_film(self, name: str, film: Film) -> None:
        """Keep a film as `name`."""
        if self._folder is None:
            return
        buffer = io.BytesIO()
        arrays = {"steps": np.array(film.steps), "real": film.real, "dreamt": film.dreamt}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        atomic_write_bytes(self._film_path(name), buffer.getvalue())

    def _film_path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}-{self._identity}.npz"
