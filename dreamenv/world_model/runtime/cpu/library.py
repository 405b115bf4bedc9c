"""Keeps compiled kernels in the user's cache: checked before they are loaded, made by one process.

What lies there is executed, so it must be this user's alone; and a file that was torn or flipped
would end the process with a signal as soon as it is mapped, so each carries its hash in its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dreamenv.core.files import atomic_write_text
from dreamenv.core.locks import locked
from dreamenv.core.progress import waiting
from dreamenv.world_model.runtime.cpu.compiler import Build, CompilationError

LOCK = "compiling.lock"
UNFINISHED = "unfinished-"
REMEMBERED = 24 * 3600
"""Seconds for which a failure is believed; by then a full disk or memory may be free again."""

logger = logging.getLogger(__name__)


def load_library(build: Build) -> ctypes.CDLL:
    """A library from the cache; compiled into it if it is not there.

    Where nothing can be kept it is compiled for this process alone, after a warning.

    Raises:
        CompilationError: it cannot be compiled, or could not on the last day.
        OSError: it cannot be loaded.
    """
    try:
        folder = cache_folder()
        return ctypes.CDLL(str(_kept(folder, build.name) or _compiled_once(folder, build)))
    except OSError as error:
        logger.warning(
            "compiled kernels cannot be kept: %s; compiling kernels for this process alone, as "
            "each one will have to", error,
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="dreamenv-") as alone:
        library = Path(alone) / "kernels.so"
        with waiting("compiling kernels"):
            build(library)
        return ctypes.CDLL(str(library))  # which stays when the file goes


def cache_folder() -> Path:
    """The folder `dreamenv` in the user's cache, made if absent.

    Raises:
        OSError: it cannot be made, there is no home, or others can write to it or own it.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # which the specification says to ignore
        home = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
        base = os.path.join(home, ".cache")
    if not os.path.isabs(base):
        raise OSError("there is no home directory; set XDG_CACHE_HOME to a folder of yours")
    folder = Path(base) / "dreamenv"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours_alone(folder):
        raise OSError(
            f"others own {folder} or can write to it, and what lies there is executed; delete it, "
            f"or make it yours alone (chmod go-w {folder})"
        )
    return folder


def _is_ours_alone(path: Path) -> bool:
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _kept(folder: Path, name: str) -> Path | None:
    """A library in the folder that is whole; those that are not are deleted."""
    for path in sorted(folder.glob(f"{name}-*.so")):
        if path.is_file() and _is_ours_alone(path):
            if path.stem == f"{name}-{_digest(path)}":
                return path
            logger.warning("%s is damaged and will be compiled again", path)
        path.unlink()
    return None


def _compiled_once(folder: Path, build: Build) -> Path:
    """Compile into the folder, unless another process has done so in the meantime."""
    name = build.name
    _raise_if_remembered(folder, name)
    with _alone(folder) as alone:
        if (library := _kept(folder, name)) is not None:
            return library
        _raise_if_remembered(folder, name)
        if alone:
            for left in folder.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)  # by one that was killed half-way
        logger.warning("compiling kernels (once, some seconds) into %s", folder)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as place:
            unfinished = Path(place) / "kernels.so"
            try:
                with waiting("compiling kernels (once)"):
                    build(unfinished)
            except CompilationError as error:
                if error.lasting:
                    atomic_write_text(_failure(folder, name), str(error))
                raise
            library = folder / f"{name}-{_digest(unfinished)}.so"
            os.chmod(unfinished, 0o700)  # whatever the umask
            os.replace(unfinished, library)
    return library


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Be the only one who compiles; yields False where there are no locks, and nobody waits."""
    with contextlib.ExitStack() as stack:
        try:
            mine = stack.enter_context(locked(folder / LOCK))
            if not mine:
                logger.warning("waiting for another process that is compiling kernels (once)")
                mine = stack.enter_context(locked(folder / LOCK, wait=True))
        except OSError:  # a network's file system; at worst two do the same work
            mine = False
        yield mine


def _failure(folder: Path, name: str) -> Path:
    return folder / f"{name}.failed"


def _raise_if_remembered(folder: Path, name: str) -> None:
    path = _failure(folder, name)
    try:
        if abs(time.time() - path.stat().st_mtime) > REMEMBERED:
            return
        reason = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return
    raise CompilationError(f"{reason} (not tried again for a day, or until {path} is deleted)")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
