"""Progress is told on terminals, and nowhere else."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest

from dreamenv.core import progress
from dreamenv.core.progress import progress_bar, waiting

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_or_a_log_sees_neither_bars_nor_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress_bar(range(3), "count")) == [0, 1, 2]
    with waiting("compiling"):
        time.sleep(0.05)
    assert log.getvalue() == ""


def test_a_terminal_sees_bars_unless_they_are_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress_bar(range(3), "hidden", show=False))
    assert terminal.getvalue() == ""
    list(progress_bar(range(3), "count", "step"))
    assert "count" in terminal.getvalue() and "3/3" in terminal.getvalue()


def test_a_terminal_is_told_what_is_waited_for_and_left_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with waiting("quick work"):
        pass
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with pytest.raises(ZeroDivisionError), waiting("slow work"):
        while not terminal.getvalue():
            time.sleep(0.005)
        raise ZeroDivisionError
    assert "slow work" in terminal.getvalue() and terminal.getvalue().endswith("\r\x1b[K")


def test_every_bar_of_the_package_is_one_of_these() -> None:
    bare = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dreamenv").rglob("*.py")
        if "tqdm(" in path.read_text("utf-8") and path.name != "progress.py"
    ]
    assert bare == []
