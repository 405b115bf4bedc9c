"""What the README shows and names is there; tests/docs/ runs its code."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_pictures_and_paths_exist() -> None:
    text = README.read_text()
    for path in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        assert (README.parent / path).exists(), path
    for path in re.findall(r"`((?:dreamenv|agents|docs|benchmarks)/[\w/.]*|\w+\.py)`", text):
        assert (README.parent / path).exists(), path
