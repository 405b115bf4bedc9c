"""A report that cannot be written is refused before anything is measured; Ctrl-C loses nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamenv.cli import main
from dreamenv.core.files import UNFINISHED
from dreamenv.evaluation.gap import measure
from dreamenv.evaluation.gap.report import GapReport
from tests.core.test_interruption import is_gone

if os.name == "nt":
    pytest.skip("sends POSIX signals", allow_module_level=True)


def command(out: Path) -> list[str]:
    return ["gap", "--agents", "random", "--real", "CartPole-v1", "--out", str(out)]


def test_a_read_only_folder_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root, who runs tests in containers, may write anywhere, the system's answer is faked."""
    monkeypatch.setattr(measure, "measure_gap", None)

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert main(command(tmp_path / "gap")) == 2
    error = capsys.readouterr().err
    assert "cannot write to --out" in error and "Read-only file system" in error
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize("when", ["measure_gap", "save"])
def test_a_disk_that_fills_up_is_one_line_that_says_what_is_kept(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "gap.json")

    monkeypatch.setattr(measure, "measure_gap", lambda *_: GapReport({}))
    monkeypatch.setattr(measure if when == "measure_gap" else GapReport, when, full)
    (tmp_path / "episodes").mkdir()
    (tmp_path / "episodes" / f".x.12345678{UNFINISHED}").touch()
    assert main(command(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "No space left" in error and "is kept in" in error and "run the same command" in error
    assert error.count("\n") == 1 and not list((tmp_path / "episodes").iterdir())


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure_gap", interrupted)
    assert main(command(tmp_path)) == 130
    error = capsys.readouterr().err
    assert "kept in" in error and "goes on from there" in error and "Traceback" not in error


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A process whose two workers are in the middle of long work, and these."""
    script = tmp_path / "pool.py"
    script.write_text(
        "import signal, sys, time, os, types\n"
        "from dreamenv.evaluation.gap import worker_pool\n"
        "class Player:\n"
        "    def __init__(self, world): pass\n"
        "    def close(self): pass\n"
        "    def wait(self, seconds):\n"
        "        os.write(1, f'{os.getpid()}\\n'.encode()); time.sleep(seconds)\n"
        "worker_pool.RealPlayer = Player\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    try:\n"
        "        with worker_pool.PlayerPool(None, 2) as pool:\n"
        "            list(pool.run(Player.wait, [600, 600]))\n"
        "    except KeyboardInterrupt:\n"
        "        sys.exit(130)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, [int(process.stdout.readline()) for _ in range(2)]


def test_an_interrupt_ends_the_workers_without_waiting_and_without_a_word(tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and errors == ""
    assert all(map(is_gone, workers))


def test_workers_of_a_killed_report_end_too(tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    process.kill()
    process.communicate(timeout=120)
    assert all(map(is_gone, workers))


def test_what_a_killed_worker_was_doing_is_done_by_another(tmp_path: Path) -> None:
    process, workers = started(tmp_path)
    os.kill(workers[0], signal.SIGKILL)
    assert process.stdout is not None
    other = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=120)
    assert other not in workers and is_gone(other)
