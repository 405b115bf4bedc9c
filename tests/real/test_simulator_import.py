"""What somebody reads when a part of the simulator is not installed."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import sys
from typing import Any

import pytest

from dreamenv.core.errors import MissingDependencyError
from dreamenv.real.memory_maze.env import MemoryMazeEnv
from dreamenv.real.memory_maze.simulator_import import import_memory_maze


@pytest.fixture(autouse=True)
def forget_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "memory_maze.tasks", raising=False)
    monkeypatch.setenv("MUJOCO_GL", "egl")


def _version_of(monkeypatch: pytest.MonkeyPatch, name: str, version: str | None) -> None:
    installed = importlib.metadata.version

    def answer(package: str) -> str:
        if package != name:
            return installed(package)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(importlib.metadata, "version", answer)


@pytest.mark.parametrize("name", ["memory-maze", "mujoco"])
def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _version_of(monkeypatch, name, None)
    with pytest.raises(MissingDependencyError, match=r'pip install "dreamenv\[memory-maze\]"'):
        MemoryMazeEnv(9)


def test_missing_gym_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'gym'", name="gym")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingDependencyError, match=r"'gym'.*dreamenv\[memory-maze\]"):
        import_memory_maze()


def test_too_new_mujoco_names_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    _version_of(monkeypatch, "mujoco", "4.0.0")
    with pytest.raises(MissingDependencyError, match='pip install "mujoco<4"'):
        import_memory_maze()


def test_missing_egl_names_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.raises(MissingDependencyError, match="apt-get install -y libegl1 libgl1 libgles2"):
        import_memory_maze()


def test_failing_renderer_names_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Any:
        raise ImportError("Cannot initialize a headless EGL display.")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingDependencyError, match="headless EGL display.*apt-get install"):
        import_memory_maze()
