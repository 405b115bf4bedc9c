"""Atomic writes: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.locks import take_lock

UNFINISHED = ".dreamenv-unfinished"
"""Ending of the temporary names under which files are written."""
_swept: set[Path] = set()
"""Folders in which this process has removed what killed ones left."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A new file to write to that takes the place of `path` if all goes well.

    It has a name of its own in the same folder until then, so any number of processes may write
    one file at once: the last to finish wins. What killed processes left there is removed.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` keeps its old content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    handle, temporary = _unfinished_file(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            if os.name == "nt":  # where an open file cannot be renamed
                file.close()
            # Renamed while it is locked, or another process would take it for a leftover.
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file in the same folder and a rename.

    Raises:
        OSError: the folder cannot be written or the disk is full; `path` keeps its old content.
    """
    with replacing(path) as file:
        file.write(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | Path, value: Any) -> None:
    """Write plain data as indented JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def require_writable(folder: str | Path, what: str = "--out") -> None:
    """Find out before long work whether its results can be stored; makes the folder if absent.

    Raises:
        DreamEnvError: it is a file, or cannot be written, or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        if folder.is_file():
            raise DreamEnvError(f"{what} {folder} is a file; give a folder") from error
        raise DreamEnvError(
            f"cannot write to {what} {folder}: {error.strerror or error}; nothing was begun. Make "
            "room, give write permission, or choose another folder"
        ) from error


def remove_unfinished(folder: str | Path) -> None:
    """Remove from a folder and all below it what killed processes left half written.

    What a process is still writing stays.
    """
    for root, _, files in os.walk(folder):
        for name in files:
            if name.endswith(UNFINISHED):
                _remove_if_left(Path(root, name))


def _sweep_once(folder: Path) -> None:
    """Remove leftovers from a folder, but not from those inside, at its first use."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    for path in folder.glob(f".*{UNFINISHED}"):
        _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Remove an unfinished file unless a process holds its lock."""
    with contextlib.suppress(OSError):  # gone already, or not ours to remove
        with path.open("r+b") as file:
            left = take_lock(file)
            if left and os.name != "nt":  # where an open file cannot be removed
                path.unlink()
        if left and os.name == "nt":
            path.unlink()


def _unfinished_file(path: Path) -> tuple[int, str]:
    """Descriptor and name of a new file beside `path`, locked as long as it is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        with contextlib.suppress(OSError):  # no locks here: nobody can sweep either
            take_lock(handle, wait=True)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # swept between its making and its locking
