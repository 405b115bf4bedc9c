"""A lock is one process's at a time, freed by its death, whatever the system locks with."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dreamenv.core.locks import locked

HOLD = """
import sys
from pathlib import Path
from dreamenv.core.locks import locked
with locked(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_one_processs_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "True\n"
    with locked(path) as mine:
        assert not mine
    holder.kill()
    holder.communicate()
    with locked(path) as mine:
        assert mine
    with locked(path, wait=True) as mine:
        assert mine


def without(monkeypatch: pytest.MonkeyPatch, *names: str, **fakes: types.SimpleNamespace) -> None:
    """Imports of `names` fail, and of `fakes` give these."""
    before = importlib.import_module

    def import_module(name: str) -> object:
        if name in names:
            raise ImportError(name)
        return fakes[name] if name in fakes else before(name)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_where_there_is_no_fcntl_windows_locks_one_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, taken = list[tuple[int, int]](), [True, True, False, False]

    def locking(descriptor: int, mode: int, count: int) -> None:
        asked.append((mode, count))
        if taken.pop(0):
            raise OSError(errno.EACCES, "Permission denied")

    fake = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
    without(monkeypatch, "fcntl", msvcrt=fake)
    monkeypatch.setattr("dreamenv.core.locks.PAUSE", 0.0)
    with locked(tmp_path / "lock") as mine:
        assert not mine
    with locked(tmp_path / "lock", wait=True) as mine:
        assert mine
    assert asked == [(2, 1)] * 3 + [(0, 1)]


def test_without_any_locks_there_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "fcntl", "msvcrt")
    with pytest.raises(OSError, match="neither fcntl nor msvcrt"), locked(tmp_path / "lock"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_was_forked_meanwhile_holds_nothing(tmp_path: Path) -> None:
    """Forked by another thread, such as one that starts workers."""
    end, start = os.pipe()
    with locked(tmp_path / "lock") as mine:
        child = os.fork()
        if not child:
            os.close(start)
            os.read(end, 1)
            os._exit(0)
    try:
        with locked(tmp_path / "lock") as again:
            assert mine and again
    finally:
        os.close(start)
        os.waitpid(child, 0)
