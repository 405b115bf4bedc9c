"""Atomic writes: the old file or the new one, never half of either, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.files import (
    UNFINISHED,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    remove_unfinished,
    replacing,
    require_writable,
)
from dreamenv.core.interruption import stop_requested


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
        "from dreamenv.core.interruption import stop_requested\n"
        "def work():\n"
        "    with stop_requested() as stop: print(stop.is_set())\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


def killed_while_writing(program: str, folder: Path) -> None:
    """Run a program that kills itself."""
    start = "import os, signal, sys\nfrom pathlib import Path\nfrom dreamenv.core import files\n"
    command = [sys.executable, "-c", start + program, str(folder)]
    assert subprocess.run(command).returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_at_the_next_write(tmp_path: Path) -> None:
    killed_while_writing(
        "with files.replacing(sys.argv[1] + '/a') as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)",
        tmp_path,
    )
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(UNFINISHED)
    (tmp_path / ".another.programs.tmp").touch()
    atomic_write_bytes(tmp_path / "b", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"b", ".another.programs.tmp"}


def test_leftovers_are_removed_in_all_folders_below(tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / f".x.12345678{UNFINISHED}").touch()
    (tmp_path / "deep" / f".y.12345678{UNFINISHED}").touch()
    (tmp_path / "deep" / "kept").touch()
    remove_unfinished(tmp_path)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} == {
        "deep", "deep/down", "deep/kept",
    }  # fmt: skip


def test_what_is_being_written_is_not_removed(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        one.write(b"one")
        other.write(b"other")
        remove_unfinished(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "file").read_bytes() == b"one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_told_beforehand(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, who runs tests in containers, may write anywhere, the system's answer is faked."""
    require_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(DreamEnvError, match=f"cannot write to --out .*{os.strerror(error)}"):
        require_writable(tmp_path / "new")


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DreamEnvError, match="--out .*file is a file; give a folder"):
        require_writable(tmp_path / "file")
