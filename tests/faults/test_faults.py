"""The short version of `python -m benchmarks.faults`, and what the long one has stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.script import DOCS

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_command_that_was_killed_goes_on_to_the_same_result(tmp_path: Path) -> None:
    """At a random moment; the parent of two workers, none of which stays."""
    out = tmp_path / "faults.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--rounds", "1", "--only", "collect"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--fault", "killed", "--out", str(out)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))["subjects"]["collect"]["killed"]
    assert found == {"rounds": 1, "same": 1, "wrong": []}


def test_the_stored_rounds_are_all_without_a_fault() -> None:
    stored = json.loads((DOCS / "results" / "faults.json").read_text("utf-8"))["subjects"]
    for faults in stored.values():
        for counts in faults.values():
            assert counts["wrong"] == [] and counts["same"] == counts["rounds"] > 0
