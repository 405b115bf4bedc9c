"""The page on a dream's life quotes what is stored, and tables are made of any result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.life_page import tables
from experiments.document import fill

ROOT = Path(__file__).parents[2]


def stored() -> dict[str, Any]:
    """The bundled checkpoint's result."""
    result: dict[str, Any] = json.loads(
        (ROOT / "docs/results/life/bundled.json").read_text("utf-8")
    )
    return result


def test_the_page_is_what_is_stored() -> None:
    page = (ROOT / "docs" / "life.md").read_text("utf-8")
    assert fill(page, tables(stored())) == page


def test_what_was_not_measured_leaves_no_rows() -> None:
    result = stored()
    for column in result["by_denoising_passes"].values():
        column |= {"revisits": None, "cues": {"missing": "no poses"}, "closed_loop": []}
    made = tables(result)
    assert "revisit" not in made["world"] and "colour" not in made["world"]
    assert made["agents"].count("\n") == 2
