"""Set-up stops with one line that says what to install, and changes nothing before that."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SET_UP = Path(__file__).parents[2] / "scripts" / "set_up.sh"


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run_set_up(programs: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run the script as an ordinary user with `programs` ahead of every other on the PATH."""
    write_program(programs / "id", "echo 1000")
    # Nothing may be installed by a test, whatever the script does.
    write_program(programs / "apt-get", "echo apt-get was called; exit 99")
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": python}
    return subprocess.run(["sh", SET_UP], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("hidden", "package"),
    [
        ("libEGL.so.1", "libegl1"),
        ("libGL.so.1", "libgl1"),
        ("libGLESv2.so.2", "libgles2"),
        ("ensurepip", f"python3.{sys.version_info.minor}-venv"),
    ],
)
def test_missing_system_package_is_named_in_one_line(
    tmp_path: Path, hidden: str, package: str
) -> None:
    python = tmp_path / "python"
    # A Python that cannot load `hidden` when asked to, and is itself otherwise.
    found = 'case "$2" in "import "*' + hidden + "*) exit 1 ;; esac"
    write_program(python, f'{found}\nexec {shlex.quote(sys.executable)} "$@"')
    result = run_set_up(tmp_path, str(python))
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and line.split()[-1] == package


def test_unfit_python_is_reported_in_one_line(tmp_path: Path) -> None:
    result = run_set_up(tmp_path, "false")
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no Python 3.11")
