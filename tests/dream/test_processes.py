"""Processes that a dreaming program starts dream as well, and share the cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.process import ForkSafeLock, was_forked

PROGRAM = Path(__file__).with_name("fork_and_spawn.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture(scope="module")
def found(debug_checkpoint: Path) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), str(debug_checkpoint)]
    patient = os.environ | {"OMP_WAIT_POLICY": "passive"}  # more threads than cores do not spin
    done = subprocess.run(command, capture_output=True, text=True, env=patient)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def on(dream: int, program: int) -> dict[str, Any]:
    """What a process says that dreams on so many threads, while its program has others."""
    return {
        "threads of the dream": dream,
        "inside": dream,
        "threads of the program": [program, program],
    }


def test_forks_of_a_process_that_dreamt_on_two_threads_dream_on_one(found: dict[str, Any]) -> None:
    assert found["here"] == on(2, 2)
    assert found["forked"] == [on(1, 2), on(1, 3)]


def test_gymnasiums_asynchronous_vector_works_after_a_step(found: dict[str, Any]) -> None:
    assert found["async"] == "steps"


def test_workers_take_one_thread_each_unless_told_otherwise(found: dict[str, Any]) -> None:
    unasked, asked = found["spawned"]
    assert unasked["threads of the dream"] == unasked["inside"] == 1
    assert asked == on(3, 3)


def test_a_forked_child_finds_locks_open_and_knows_what_it_is() -> None:
    lock = ForkSafeLock()
    with lock:
        child = os.fork()
        if not child:
            with lock:  # would wait for its parent for ever
                os._exit(0 if was_forked() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not was_forked()
