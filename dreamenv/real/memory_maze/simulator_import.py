"""Importing Memory Maze, with an error that says what to install when a part is missing."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import io
import os
import sys
import warnings

from dreamenv.core.errors import MissingDependencyError

INSTALL_EXTRA = 'Install it with: pip install "dreamenv[memory-maze]"'
INSTALL_GL = "apt-get install -y libegl1 libgl1 libgles2"


def import_memory_maze() -> None:
    """Make `memory_maze` and `dm_control` importable, choosing EGL rendering if none is chosen.

    Raises:
        MissingDependencyError: Memory Maze is absent, MuJoCo is too new for dm_control, or the
            OpenGL libraries cannot be loaded. The message holds the line that repairs it.
    """
    if "memory_maze.tasks" in sys.modules:
        return
    _check_packages()
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    backend = os.environ.get("MUJOCO_GL", "")
    if backend == "egl":
        _check_egl()
    # The import of gym prints a notice about its age, and dm_control switches deprecation
    # warnings on for the whole process; neither is of use to somebody who made an environment.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            importlib.import_module("memory_maze.tasks")
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"Memory Maze needs the package {error.name!r}. {INSTALL_EXTRA}"
            ) from error
        except (ImportError, AttributeError, RuntimeError) as error:
            raise MissingDependencyError(
                f"Memory Maze cannot render with MUJOCO_GL={backend!r}: {error}. On Debian or "
                f"Ubuntu install the OpenGL libraries with: {INSTALL_GL}"
            ) from error


def _check_packages() -> None:
    try:
        importlib.metadata.version("memory-maze")
        mujoco = importlib.metadata.version("mujoco")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            f"Memory Maze environments need the package {error.name!r}. {INSTALL_EXTRA}"
        ) from error
    if int(mujoco.split(".")[0]) >= 4:
        raise MissingDependencyError(
            f"Memory Maze runs on dm_control, which does not work with mujoco {mujoco}. "
            'Install an older one with: pip install "mujoco<4"'
        )


def _check_egl() -> None:
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        raise MissingDependencyError(
            "Memory Maze renders without a display through EGL, but libEGL cannot be loaded. "
            f"On Debian or Ubuntu install it with: {INSTALL_GL}"
        ) from error
