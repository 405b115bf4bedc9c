"""Makes the counting environment importable, here and in the processes that tests start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)


@pytest.fixture
def child_environment() -> dict[str, str]:
    """Environment variables for a process that imports dreamenv and the counting environment."""
    root = str(Path(HERE).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, HERE])}
