"""The files of a data set: found in one order, without a list of all of them, and read safely."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from dreamenv.core.errors import RolloutError, UnreadableFileError
from dreamenv.core.reading import is_stray, open_file, read_npz
from dreamenv.rollouts.importers.columns import Column

MOST_BYTES = 2**35
"""Of one file's arrays, unpacked: an hour of 128×128 frames takes a tenth of that."""
ARRAYS = ".npz"


def walk(place: Path, *endings: str) -> Iterator[Path]:
    """The files with one of these endings in a folder and below it; a file is itself.

    They come in the order of their names, of which those of one folder are held at a time.

    Raises:
        RolloutError: there is no such folder.
    """
    if place.is_file():
        yield place
        return
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError as error:
        raise RolloutError(f"cannot read {place}: {error.strerror or error}") from error
    for entry in entries:
        if is_stray(entry.name) or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from walk(Path(entry.path), *endings)
        elif entry.name.lower().endswith(endings):
            yield Path(entry.path)


def first_file(place: Path, *endings: str) -> Path:
    """The first of them.

    Raises:
        RolloutError: there is none.
    """
    for path in walk(place, *endings):
        return path
    raise RolloutError(f"there is no file *{' or *'.join(endings)} in {place}; wrong folder?")


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an `.npz`.

    Raises:
        RolloutError: it is none.
    """
    try:
        with open_file(path, MOST_BYTES) as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # a damaged zip raises whatever it meets first
        raise RolloutError(f"{path} is no .npz file that can be read: {error}") from error


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, Column]:
    """Arrays of an `.npz`, all of them by default, as columns.

    Raises:
        RolloutError: one is missing or damaged, or has no rows; the message names it.
    """
    there = array_names(path)
    wanted = there if names is None else list(names)
    require(there, path, *wanted)
    found = {}
    for name in wanted:
        try:
            values = read_npz(path, [name], MOST_BYTES)[name]
        except (UnreadableFileError, FileNotFoundError) as error:
            raise RolloutError(f"{path}: {name} cannot be read: {error}") from error
        found[name] = Column(str(path), name, values)
    return found


def require(there: Collection[str], path: Path, *names: str) -> None:
    """Refuse a file that lacks an array.

    Raises:
        RolloutError: names the first.
    """
    for name in names:
        if name not in there:
            has = ", ".join(there) or "nothing"
            raise RolloutError(f"{path}: there is no array {name!r}; it has {has}")


def read_array(path: Path) -> np.ndarray:
    """The array of an `.npy` file.

    Raises:
        RolloutError: it is none.
    """
    try:
        with open_file(path, MOST_BYTES) as file:
            return np.load(file, allow_pickle=False)
    except Exception as error:
        raise RolloutError(f"{path} is no .npy file that can be read: {error}") from error


def relative(path: Path, place: Path) -> str:
    """How a file of a data set is called in it."""
    return path.name if path == place else path.relative_to(place).as_posix()
