"""Exclusive locks on files and folders, held by one process at a time and dropped when it dies."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dreamenv.core.errors import DreamEnvError, FolderInUseError

LOCK = ".lock"
"""Name of the file by which a folder is held."""
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
        mine = take_lock(file, wait)
        try:
            yield mine
        finally:
            if mine:
                release_lock(file)


@contextlib.contextmanager
def hold_folder(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of `folder` that would hold it too.

    The folder is made if absent, and goes again if nothing but the lock was ever put into it.

    Raises:
        FolderInUseError: another run holds it; the message names its process and machine.
        DreamEnvError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(_held(folder / LOCK))
            except OSError as error:
                raise DreamEnvError(
                    f"cannot write to {folder}: {error.strerror or error}; give write permission, "
                    "make room, or choose another folder"
                ) from error
            if os.name != "nt":  # removed while it is held: who opened it before will notice
                stack.callback(Path(file.name).unlink, missing_ok=True)
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _held(path: Path) -> IO[bytes]:
    """The file at `path`, locked, with what process that is written into it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # which its last holder may have made
        file = path.open("a+b")
        try:
            try:
                mine = take_lock(file)
            except OSError:  # a network drive without locks: nobody can be kept out
                return file
            if not mine:
                raise FolderInUseError(
                    f"another run is at work in {path.parent}: {_holder(file)}; wait for it, stop "
                    "it, or choose another folder"
                )
            if _is_at(file, path):
                # Behind the first byte, which may be locked against reading too.
                file.truncate(0)
                file.write(f" process {os.getpid()} on {socket.gethostname()}".encode())
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its last holder has just removed it


def _holder(file: IO[bytes]) -> str:
    try:
        file.seek(1)
        return file.read(200).decode("utf-8", "replace") or "a process just begun"
    except OSError:
        return "another process"


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is still the one that a path leads to."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def take_lock(file: IO[bytes] | int, wait: bool = False) -> bool:
    """Lock an open file until it is closed, or its process dies, however it dies.

    Args:
        file: or its descriptor.
        wait: block until the lock is free.

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
    descriptor = file if isinstance(file, int) else file.fileno()
    while True:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)  # one byte, at the same place by everyone
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if not wait:
                return False
            time.sleep(PAUSE)
        else:
            return True


def release_lock(file: IO[bytes] | int) -> None:
    """Release a lock that was taken, also where a child that was forked since has the file open.

    Closing the file would not be enough then.
    """
    fcntl, msvcrt = _module("fcntl"), _module("msvcrt")
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
    else:
        descriptor = file if isinstance(file, int) else file.fileno()
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def _module(name: str) -> Any:
    """A module that only some systems have, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
