"""The results of a grid as one file: small, without paths, enough for every table and plot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dreamenv.core.errors import CheckpointError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.reading import read_object
from experiments.grid import Grid
from experiments.queue import Say
from experiments.tasks import complete

RESULTS = "results.json"
MODEL = "model"
LEFT_OUT = (
    "data",
    "rollouts",
    "conditioning",
    "task",
    "noise_seed",
    "clip_seed",
    "scores",
    "per_clip",
)
"""Parts of a task's scores that every model shares or that no table needs."""


def update_results(grid: Grid, folder: Path, say: Say = print) -> dict[str, Any]:
    """Merge what is done into `folder / results.json`, and return all of it.

    Rows that the file has already, as those done on another machine, stay as long as they are of
    the suite as it is now; those done here take their place.
    """
    path = folder / RESULTS
    before = read_results(path) if path.exists() else {}
    rows, references = _done(grid)
    known = {
        (row["cell"], row["seed"]): row
        for row in before.get("rows", [])
        if _is_current(grid, row["cell"], row["seed"], row["fingerprint"])
    }
    if left_out := len(before.get("rows", [])) - len(known):
        say(f"{left_out} rows of {path} are of other settings than the suite's, and left out")
    known |= {(row["cell"], row["seed"]): row for row in rows}
    order = [cell.name for cell in grid.suite.cells]
    suite = grid.suite
    tokenizer = grid.tokenizer_job().scores() or before.get("tokenizer")
    results = {
        "suite": suite.name,
        "command": f"dreamenv compare --suite {suite.name}",
        "rollouts": [dataclasses.asdict(rollouts) for rollouts in suite.rollouts.values()],
        "training": suite.training,
        "preset": suite.preset,
        "tokenizer": {"from": suite.tokenizer_from} if suite.tokenizer_from else tokenizer,
        "tasks": {
            name: {"kind": task.kind, "settings": complete(task)}
            for name, task in suite.tasks.items()
        },
        "reference": suite.reference,
        "cells": [
            {"name": cell.name, "label": cell.label, "groups": list(cell.groups)}
            for cell in suite.cells
        ],
        "rows": sorted(known.values(), key=lambda row: (order.index(row["cell"]), row["seed"])),
        "references": before.get("references", {}) | references,
    }
    if results != before:
        atomic_write_json(path, results)
    return results


def read_results(path: Path) -> dict[str, Any]:
    """A file of results.

    Raises:
        CheckpointError: it is missing or no JSON.
    """
    try:
        return read_object(path)
    except FileNotFoundError:
        raise CheckpointError(f"there are no results at {path}; run compare first") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and run again") from error


def _done(grid: Grid) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all finished jobs of whatever seed, and by task what needs no model."""
    rows: list[dict[str, Any]] = []
    references: dict[str, Any] = {}
    for cell in grid.suite.cells:
        for folder in sorted((grid.out / "jobs" / cell.name).glob("seed*")):
            number = folder.name.removeprefix("seed")
            scores = grid.job(cell, int(number)).scores() if number.isdecimal() else None
            if scores is None:
                continue
            rows.append(scores | {"tasks": {k: _short(v) for k, v in scores["tasks"].items()}})
            for name, task in scores["tasks"].items():
                if "scores" in task:
                    references.setdefault(name, _reference(task))
    return rows, references


def _is_current(grid: Grid, name: str, seed: int, fingerprint: str) -> bool:
    cells = {cell.name: cell for cell in grid.suite.cells}
    return name in cells and grid.job(cells[name], seed).fingerprint == fingerprint


def _short(task: dict[str, Any]) -> dict[str, Any]:
    """A task's scores without what every model shares and without single frames."""
    short = {name: value for name, value in task.items() if name not in LEFT_OUT}
    if "scores" in task:
        short["scores"] = {
            metric: _without_frames(shown[MODEL]) for metric, shown in task["scores"].items()
        }
        short["psnr_of_clips"] = task["per_clip"]["psnr"]
    return short


def _reference(task: dict[str, Any]) -> dict[str, Any]:
    scores = {
        name: {metric: _without_frames(shown[name]) for metric, shown in task["scores"].items()}
        for name in task["scores"]["psnr"]
        if name != MODEL
    }
    return {"episode_of_clips": task["per_clip"]["episode"], "scores": scores}


def _without_frames(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "per_frame"}
