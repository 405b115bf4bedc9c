"""One file of results: what is current is kept, what is not is left out, nothing is invented."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import CheckpointError
from experiments.grid import Grid
from experiments.results import read_results, update_results
from experiments.suite import Suite
from tests.experiments.conftest import job_scores, make_suite


def finish(grid: Grid, cell: int, seed: int, psnr: float) -> None:
    """Store the scores of a job."""
    job = grid.job(grid.suite.cells[cell], seed)
    job.enter()
    job.finish(job_scores(psnr))


def rows(results: dict[str, Any]) -> list[tuple[str, int, float]]:
    return [
        (r["cell"], r["seed"], r["tasks"]["retrieval"]["scores"]["psnr"]["overall"]["mean"])
        for r in results["rows"]
    ]


def test_finished_jobs_of_every_seed_are_merged_in_the_suites_order(
    tmp_path: Path, suite: Suite
) -> None:
    grid = Grid(suite, tmp_path / "out")
    for cell, seed, psnr in ((1, 0, 20.0), (0, 7, 22.0), (0, 0, 21.0)):
        finish(grid, cell, seed, psnr)
    results = update_results(grid, tmp_path / "results")
    assert rows(results) == [("ours", 0, 21.0), ("ours", 7, 22.0), ("window", 0, 20.0)]
    stored = read_results(tmp_path / "results" / "results.json")
    assert stored == json.loads(json.dumps(results))
    assert stored["command"] == "dreamenv compare --suite test"
    assert all(row["command"].startswith("dreamenv compare") for row in stored["rows"])


def test_what_models_share_and_single_frames_are_not_repeated(tmp_path: Path, suite: Suite) -> None:
    grid = Grid(suite, tmp_path)
    finish(grid, 0, 0, 21.0)
    results = update_results(grid, tmp_path / "results")
    (row,) = results["rows"]
    assert "data" not in row["tasks"]["retrieval"]
    assert set(row["tasks"]["retrieval"]["scores"]["psnr"]) >= {"overall", "by_distance"}
    assert "per_frame" not in json.dumps(results)
    reference = results["references"]["retrieval"]
    assert reference["scores"]["repeat last frame"]["psnr"]["overall"]["mean"] == 10.5
    assert reference["episode_of_clips"] == [0, 1, 0, 1]
    assert str(tmp_path) not in json.dumps(results), "no paths of this machine"


def test_rows_done_elsewhere_stay_while_they_are_current(tmp_path: Path, suite: Suite) -> None:
    there, here = Grid(suite, tmp_path / "there"), Grid(suite, tmp_path / "here")
    finish(there, 0, 0, 21.0)
    finish(there, 1, 0, 20.0)
    update_results(there, tmp_path)
    finish(here, 0, 0, 25.0)
    assert rows(update_results(here, tmp_path)) == [("ours", 0, 25.0), ("window", 0, 20.0)]
    # Without any working folder the file alone is enough.
    assert len(update_results(Grid(suite, tmp_path / "nowhere"), tmp_path)["rows"]) == 2
    longer = dataclasses.replace(suite, training={**suite.training, "window": 12})
    said: list[str] = []
    later = update_results(Grid(longer, tmp_path / "here"), tmp_path, said.append)
    assert later["rows"] == []
    assert "2 rows" in said[0] and "other settings" in said[0]


def test_a_removed_cell_leaves_the_results(tmp_path: Path, suite: Suite) -> None:
    grid = Grid(suite, tmp_path)
    finish(grid, 0, 0, 21.0)
    finish(grid, 1, 0, 20.0)
    update_results(grid, tmp_path)
    fewer = make_suite(cells=suite.cells[:1])
    assert rows(update_results(Grid(fewer, tmp_path), tmp_path)) == [("ours", 0, 21.0)]


def test_missing_or_damaged_results_are_named(tmp_path: Path, suite: Suite) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(CheckpointError, match="no results at"):
        read_results(path)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="results.json is damaged"):
        update_results(Grid(suite, tmp_path), tmp_path)
