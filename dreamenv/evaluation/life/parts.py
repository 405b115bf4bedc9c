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
    """Parts of a measurement, each made once for all that decides it.

    Args:
        folder: where they are kept; None keeps nothing.
        identity: plain data that decides all of them.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        self._folder, self._identity = folder, identity

    def get(self, name: str, key: dict[str, Any], make: Callable[[], Any]) -> Any:
        """The part `name`, plain data: what was kept for an equal `key`, or what `make` gives."""
        found = self.kept(name, key)
        if found is not None:
            return found
        made = json.loads(json.dumps(make()))
        path = self.path(name, key)
        if path is not None:
            atomic_write_json(path, made)
        return made

    def kept(self, name: str, key: dict[str, Any]) -> Any:
        """The part `name` if it was kept for an equal `key`; None if not, or if it is damaged."""
        path = self.path(name, key)
        if path is None:
            return None
        try:
            return parse_json(read_bytes(path, MOST_BYTES))
        except (FileNotFoundError, UnreadableFileError):  # it is made again
            return None

    def path(self, name: str, key: dict[str, Any], suffix: str = "json") -> Path | None:
        """Where a part is kept."""
        if self._folder is None:
            return None
        return self._folder / f"{name}-{digest([self._identity, key])[:16]}.{suffix}"

    def film(self, name: str, key: dict[str, Any]) -> Film | None:
        """The film kept as `name`, if there is one."""
        path = self.path(name, key, "npz")
        if path is None:
            return None
        try:
            found = read_npz(path, ["steps", "real", "dreamt"], MOST_BYTES)
        except (FileNotFoundError, UnreadableFileError):
            return None
        steps = tuple(int(step) for step in found["steps"])
        return Film(steps, found["real"], found["dreamt"])

    def keep_film(self, name: str, key: dict[str, Any], film: Film) -> None:
        """Keep a film as `name`."""
        path = self.path(name, key, "npz")
        if path is None:
            return
        buffer = io.BytesIO()
        arrays = {"steps": np.array(film.steps), "real": film.real, "dreamt": film.dreamt}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        atomic_write_bytes(path, buffer.getvalue())
