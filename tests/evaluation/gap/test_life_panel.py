"""The page of a gap report shows what was measured of the dream's life, of the same weights."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.gap.life_panel import read_life
from dreamenv.evaluation.gap.page import gap_page

RESULTS = Path(__file__).parents[3] / "docs" / "results"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As `dreamenv life` leaves it."""
    for name in ("json", "png"):
        shutil.copy(RESULTS / "life" / f"bundled.{name}", tmp_path / f"life.{name}")
    return tmp_path


def weights_of(folder: Path) -> str:
    weights: str = json.loads((folder / "life.json").read_text("utf-8"))["checkpoint"][
        "weights_sha256"
    ]
    return weights


def test_the_page_shows_the_table_and_the_film(folder: Path) -> None:
    panel = read_life(folder, weights_of(folder))
    gap = json.loads((RESULTS / "gap" / "gap.json").read_text("utf-8"))
    clips = dict.fromkeys(gap["open_loop"], np.zeros((4, 4, 3), np.uint8))
    without = gap_page(gap, {}, clips)
    page = html.unescape(gap_page({**gap, "life": panel.result}, {}, clips, "", panel.picture))
    assert "Does the dream live?" in page and "Does the dream live?" not in without
    assert page.count("data:image/png") == without.count("data:image/png") + 1
    for row in panel.result["table"]:
        assert row[0] in page


def test_without_a_film_there_is_still_a_table(folder: Path) -> None:
    (folder / "life.png").unlink()
    panel = read_life(folder, weights_of(folder))
    assert panel.picture is None and len(panel.result["table"]) > 5


def test_what_is_of_other_weights_or_damaged_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is about the weights"):
        read_life(folder, "other weights")
    (folder / "life.json").write_text('{"checkpoint": {}}')
    with pytest.raises(ConfigError, match="measure it with"):
        read_life(folder, "other weights")
    with pytest.raises(ConfigError, match="measure it with"):
        read_life(folder / "nowhere", "other weights")
