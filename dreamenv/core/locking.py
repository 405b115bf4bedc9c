"""Exclusive locks on files, held by one process at a time and dropped when it dies."""

from __future__ import annotations

import contextlib
import errno
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PAUSE = 0.2
"""Seconds between two tries where the system can only say whether a lock is free (Windows)."""


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock on a file while inside; yields whether it was to be had.

    Args:
        path: made if absent, with its folder; never deleted.
        wait: block until it is free.

    Raises:
        OSError: the file cannot be made, or its file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield take_lock(file, wait)  # closing the file releases the lock


def take_lock(file: IO[bytes], wait: bool = False) -> bool:
    """Lock an open file until it is closed, or its process dies, however it dies.

    Returns:
        Whether the lock was to be had; always True with `wait`.

    Raises:
        OSError: the file system, or this Python, knows no locks.
    """
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
    if msvcrt is None:
        raise OSError(errno.ENOLCK, "this Python has neither fcntl nor msvcrt to lock files with")
    while True:
        try:
            file.seek(0)  # one byte is locked, at the same place by everyone
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if not wait:
                return False
            time.sleep(PAUSE)
        else:
            return True


def _module(name: str) -> Any:
    """A module that only some systems have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
