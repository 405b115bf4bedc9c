"""A folder has one run at a time, and is free again as soon as that run is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dreamenv.core.errors import DreamEnvError, FolderInUseError
from dreamenv.core.locks import LOCK, hold_folder

HOLDER = """
import sys
from dreamenv.core.locks import hold_folder
with hold_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen:
    """A process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_with_the_first_ones_process_and_machine(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        message = f"another run is at work in .*: process {process.pid} on {socket.gethostname()}"
        with pytest.raises(FolderInUseError, match=message), hold_folder(tmp_path):
            raise AssertionError
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        with hold_folder(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        with hold_folder(tmp_path):
            pass


def test_two_in_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        with pytest.raises(FolderInUseError, match=str(os.getpid())), hold_folder(tmp_path):
            raise AssertionError
        with pytest.raises(FolderInUseError), hold_folder(tmp_path):
            raise AssertionError


def test_a_folder_that_stays_empty_goes_again_and_another_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_folder(tmp_path / "a" / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with hold_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert (tmp_path / "a" / "b" / "result").exists()
    (tmp_path / "empty").mkdir()
    with hold_folder(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists()


def test_what_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DreamEnvError, match="cannot write to .*file"),
        hold_folder(tmp_path / "file"),
    ):
        raise AssertionError
