"""Locks on files, which the operating system drops when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from dreamenv.core.errors import DreamEnvError, FolderInUseError

LOCK = ".lock"
"""Name of the file by which a folder is held."""
BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""How operating systems say that another process holds a lock."""
LOCKED_BYTE = 1 << 30
"""On Windows a locked byte cannot be read: one far behind what is written in the file."""


def lock(descriptor: int, wait: bool = False) -> bool:
    """Take the exclusive lock of an open file, until it is closed or this process ends.

    Two descriptors of one file exclude each other in one process too.

    Args:
        descriptor: of the file, or on POSIX systems of a folder.
        wait: block until the lock is free.

    Returns:
        Whether it was to be had; always True with `wait`.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        try:
            import fcntl
        except ImportError:
            _lock_windows(descriptor, wait)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in BUSY:
            return False
        raise
    return True


def _lock_windows(descriptor: int, wait: bool) -> None:
    import msvcrt

    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
    try:
        while True:
            try:
                # LK_LOCK gives up after ten seconds.
                mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined]
                return msvcrt.locking(descriptor, mode, 1)  # type: ignore[attr-defined]
            except OSError as error:
                if not wait or error.errno not in BUSY:
                    raise
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)


@contextlib.contextmanager
def hold_folder(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of `folder` that would hold it too.

    The folder is made if absent, and goes again if nothing but the lock was ever put into it.

    Raises:
        FolderInUseError: another run holds it; the message names its process and machine.
        DreamEnvError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    made: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            try:
                made = _make(folder)
                descriptor = _take(folder / LOCK)
            except OSError as error:
                raise DreamEnvError(
                    f"cannot write to {folder}: {error.strerror or error}; give write permission "
                    "or choose another folder"
                ) from error
            stack.callback(os.close, descriptor)
            if os.name != "nt":  # removed while it is held: who opened it before will notice
                stack.callback((folder / LOCK).unlink, missing_ok=True)
            yield
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns what had to be made, outermost first."""
    missing = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _take(path: Path) -> int:
    """Lock the file at `path` and write down who holds it; returns its descriptor."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # which its last holder may have made
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                mine = lock(descriptor)
            except OSError:  # a network drive without locks: nobody can be kept out
                return descriptor
            if not mine:
                raise FolderInUseError(
                    f"another run is at work in {path.parent}: {_holder(descriptor)}; wait for it, "
                    "stop it, or choose another folder"
                )
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
            os.close(descriptor)  # its last holder has just removed it
        except BaseException:
            os.close(descriptor)
            raise


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, 200).decode("utf-8", "replace") or "a process just begun"
    except OSError:
        return "another process"


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one that a path leads to."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
