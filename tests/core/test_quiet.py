"""The notice that gym is unmaintained is kept off the screen, and only while it matters."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gym_notices")
pytest.importorskip("gym")

NOTICE = "Gym has been unmaintained"


def said(code: str) -> str:
    """What a new interpreter prints while it runs `code`."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout + ran.stderr


def test_it_is_printed_unless_something_is_done() -> None:
    assert NOTICE in said("import dreamenv, gym")


@pytest.mark.parametrize("module", ["dreamenv.cli", "dreamenv.agents"])
def test_commands_and_the_processes_they_start_do_not_print_it(module: str) -> None:
    assert NOTICE not in said(f"import {module}, gym")


def test_importing_stable_baselines3_for_a_dream_prints_nothing_and_changes_nothing() -> None:
    code = """
from gym_notices.notices import notices
before = dict(notices)
import dreamenv.dream.sb3, sys
print("gym" in sys.modules, before == notices and len(notices))
"""
    told = said(code)
    assert told.split()[0] == "True" and told.split()[1] not in ("False", "0")
    assert NOTICE not in told
