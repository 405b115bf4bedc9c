"""Reading results: one number per cell, over its seeds, with what is known of its spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.statistics import mean_interval


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    `low` and `high`: the least and greatest seed where there are several; with one seed its
    bootstrap interval over clips, if it has one.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    def text(self, digits: int, sign: str = "") -> str:
        """Such as "24.3 [23.9, 24.8]"."""
        mean = f"{self.mean:{sign}.{digits}f}"
        if self.low is None or self.high is None:
            return mean
        return f"{mean} [{self.low:{sign}.{digits}f}, {self.high:{sign}.{digits}f}]"


RENAMED_GROUPS = {"rivals": "baselines"}
"""Groups of cells as results that were stored earlier call them."""


class Summary:
    """Results as they stand in `results.json`."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.labels = {cell["name"]: cell["label"] for cell in results["cells"]}

    def cells(self, group: str) -> list[str]:
        """Names of the cells of a group, in the suite's order."""
        return [
            cell["name"]
            for cell in self.results["cells"]
            if group in (RENAMED_GROUPS.get(name, name) for name in cell["groups"])
        ]

    def rows(self, cell: str) -> list[dict[str, Any]]:
        """What is done of a cell, one row per seed."""
        return [row for row in self.results["rows"] if row["cell"] == cell]

    def spread(self, cell: str, *path: str | int) -> Spread | None:
        """The number at `path` in a cell's rows; None where no row has it."""
        return spread([value for row in self.rows(cell) if (value := _at(row, path)) is not None])

    def score(self, cell: str, task: str, metric: str, part: str = "overall") -> Spread | None:
        """A similarity of the model's frames; `part` is `overall` or a group of frames."""
        return self.spread(cell, "tasks", task, "scores", metric, part)

    def by_distance(self, cell: str, task: str) -> dict[tuple[int, int], Spread]:
        """PSNR by bins of the distance, in model frames, first and last included."""
        return _by_bins([_at(row, ("tasks", task, "scores")) for row in self.rows(cell)])

    def margin(self, cell: str, task: str) -> Spread | None:
        """By how many dB the cell's PSNR is above that of the reference cell.

        Paired: both are compared on each clip, means over the seeds that each has; the interval
        draws episodes anew. None unless both are done.
        """
        reference = self.results["reference"]
        ours, theirs = self._clips(cell, task), self._clips(reference, task)
        if ours is None or theirs is None or cell == reference:
            return None
        episodes = np.array(self.results["references"][task]["episode_of_clips"])
        found = mean_interval(ours.mean(0) - theirs.mean(0), episodes)
        low, high = (None, None) if found.low is None else (float(found.low), float(found.high))
        return Spread(float(found.mean), low, high, min(len(ours), len(theirs)))

    def tasks(self, kind: str) -> dict[str, dict[str, Any]]:
        """Name → settings of the suite's tasks of a kind."""
        tasks = self.results["tasks"].items()
        return {name: task["settings"] for name, task in tasks if task["kind"] == kind}

    def measured(self, task: str) -> dict[str, Any]:
        """What every row that did a task says of it, such as its number of clips; or nothing."""
        done = (row["tasks"][task] for row in self.results["rows"] if task in row["tasks"])
        return next(done, {})

    def references(self, task: str) -> list[str]:
        """What is shown without a model in a task."""
        return list(self._references(task))

    def reference(self, task: str, name: str, metric: str, part: str = "overall") -> Spread | None:
        """The similarity of what is shown without a model."""
        value = _at(self._references(task), (name, metric, part))
        return spread([value] if value else [])

    def reference_by_distance(self, task: str, name: str) -> dict[tuple[int, int], Spread]:
        """As `by_distance`, of what is shown without a model."""
        return _by_bins([self._references(task).get(name)])

    def _references(self, task: str) -> dict[str, Any]:
        return self.results["references"].get(task, {}).get("scores", {})

    def _clips(self, cell: str, task: str) -> np.ndarray | None:
        """(seeds, clips) dB."""
        paths = ("tasks", task, "psnr_of_clips")
        found = [v for row in self.rows(cell) if (v := _at(row, paths)) is not None]
        return np.array(found) if found else None


def spread(values: list[Any]) -> Spread | None:
    """Of one number per seed, or of one interval `{"mean", "low", "high"}` per seed."""
    means = [value["mean"] if isinstance(value, dict) else value for value in values]
    known = [float(mean) for mean in means if mean is not None]
    if not known:
        return None
    if len(known) > 1:
        return Spread(sum(known) / len(known), min(known), max(known), len(known))
    only = next(v for v, mean in zip(values, means, strict=True) if mean is not None)
    low, high = (only.get("low"), only.get("high")) if isinstance(only, dict) else (None, None)
    return Spread(known[0], low, high, 1)


def _by_bins(scores: list[Any]) -> dict[tuple[int, int], Spread]:
    """PSNR of each bin of the distance, over several scores."""
    bins: dict[tuple[int, int], list[Any]] = {}
    for one in scores:
        for entry in _at(one, ("psnr", "by_distance")) or []:
            bins.setdefault(tuple(entry["distance"]), []).append(entry)
    return {bounds: known for bounds, e in bins.items() if (known := spread(e)) is not None}


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data
