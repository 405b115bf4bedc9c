"""Atomic writes: the old file or the new one, never half of either, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dreamenv.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from dreamenv.interruption import stop_requested


def test_contents_come_back_in_folders_that_are_made(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a" / "b" / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "bytes").read_bytes() == b"\x00\xff"
    atomic_write_text(tmp_path / "text", "größer\n")
    assert (tmp_path / "text").read_text("utf-8") == "größer\n"
    atomic_write_json(tmp_path / "json", {"b": [1, None], "a": 0.5})
    assert (tmp_path / "json").read_text().splitlines()[0] == "{"
    assert stat.S_IMODE((tmp_path / "json").stat().st_mode) == 0o644


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic_write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_is_no_json_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file", "old")
    with pytest.raises(TypeError):
        atomic_write_json(tmp_path / "file", {"a": object()})
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requested() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_the_second_signal_acts_as_ever(request: pytest.FixtureRequest) -> None:
    # A job in the background may have begun with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt), stop_requested() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_nothing_is_handled() -> None:
    """In a process of its own, whose main thread keeps its handlers."""
    program = (
        "import signal, threading\n"
        # A job in the background may have begun with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from dreamenv.interruption import stop_requested\n"
        "def work():\n"
        "    with stop_requested() as stop: print(stop.is_set())\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
