"""Letting a model do a memory task, and how similar what it shows is to what it should show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.memory.contrast import contrast
from dreamenv.evaluation.memory.imagination import imagine_on, through_tokenizer, watch
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.evaluation.metrics.open_loop import RECONSTRUCTION
from dreamenv.evaluation.metrics.similarity import METRICS, Similarity, lpips_missing, similarity
from dreamenv.world_model.model import WorldModel

BATCH = 32
"""Clips watched and imagined at once; the noise does not depend on it."""
MODEL = "model"


@dataclass(frozen=True)
class MemoryScores:
    """What a model showed in a task, beside what needs no model or no memory."""

    task: MemoryTask
    noise_seed: int
    similarity: dict[str, Similarity]
    """Name of what is shown → metric → (n, h)."""
    dreamt: np.ndarray
    """The first clips as imagined, (few, h, H, W, C) uint8."""

    def mean(self, metric: str, name: str = MODEL, where: np.ndarray | None = None) -> Any:
        """Mean over frames, or over those of `where` (n, h) bool, as plain data.

        The interval draws whole episodes anew. None where there is no frame, or no such metric.
        """
        values = self.similarity[name].get(metric)
        where = np.ones(self.task.distances.shape, bool) if where is None else where
        if values is None or not where.any():
            return None
        episodes = np.broadcast_to(self.task.episodes[:, None], where.shape)
        return _rounded(mean_interval(values[where], episodes[where]).to_json())

    def per_frame(self, metric: str, name: str = MODEL) -> Any:
        """Mean of each imagined frame, lists of h; None where there is no such metric."""
        values = self.similarity[name].get(metric)
        if values is None:
            return None
        return _rounded(mean_interval(values, self.task.episodes).to_json())

    def by_distance(self, metric: str, name: str = MODEL) -> list[dict[str, Any]]:
        """Means of the frames last seen 1–8, 9–16, 17–32, … frames ago; empty bins left out."""
        return [
            {"distance": [low, high], "frames": int(where.sum())}
            | (self.mean(metric, name, where) or {"mean": None})
            for low, high, where in self._bins()
        ]

    def contrasts(self, metric: str, name: str = MODEL) -> list[dict[str, Any]]:
        """The task's two groups at equal steps of the imagination, by distance in the first."""
        values = self.similarity[name].get(metric)
        if self.task.contrast is None or values is None:
            return []
        first, second = self.task.contrast
        ours, theirs = self.task.groups[first], self.task.groups[second]
        rows = []
        for low, high, where in [*self._bins(), (1, None, self.task.distances > 0)]:
            found = contrast(values, ours & where, theirs, self.task.episodes)
            if found is not None:
                rows.append(
                    {
                        "distance": [low, high],
                        first: _rounded(found.first),
                        second: _rounded(found.second),
                        "difference": _rounded(found.difference.to_json()),
                    }
                )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain data with 95 % intervals; `scores[metric][name of what is shown]`.

        `lpips_missing` says why there is no LPIPS, and is None where there is. `per_clip` has
        the model's mean of each clip, to compare models clip by clip.
        """
        task, shown = self.task, list(self.similarity)
        metrics = [m for m in METRICS if m in self.similarity[MODEL]]
        return {
            "task": task.name,
            "conditioning": task.conditioning,
            "clips": len(task.episodes),
            "episodes": len(np.unique(task.episodes)),
            "context": task.context,
            "horizon": task.horizon,
            "noise_seed": self.noise_seed,
            **task.about,
            "frames": {name: int(where.sum()) for name, where in task.groups.items()},
            "lpips_missing": None if "lpips" in metrics else lpips_missing(),
            "scores": {m: {name: self._entry(m, name) for name in shown} for m in metrics},
            "per_clip": {
                "episode": task.episodes.tolist(),
                "start": task.starts.tolist(),
                **{m: _rounded(self.similarity[MODEL][m].mean(1).tolist()) for m in metrics},
            },
        }

    def _entry(self, metric: str, name: str) -> dict[str, Any]:
        entry = {
            "overall": self.mean(metric, name),
            "per_frame": self.per_frame(metric, name),
            "by_distance": self.by_distance(metric, name),
        }
        for group, where in self.task.groups.items():
            entry[group] = self.mean(metric, name, where)
        if self.task.contrast is not None:
            entry["at_equal_steps"] = self.contrasts(metric, name)
        return entry

    def _bins(self) -> list[tuple[int, int, np.ndarray]]:
        """Bounds and members (n, h) of the distance bins that have any."""
        bins, low, high = [], 1, 8
        while low <= self.task.distances.max(initial=0):
            where = (low <= self.task.distances) & (self.task.distances <= high)
            if where.any():
                bins.append((low, high, where))
            low, high = high + 1, 2 * high
        return bins


def score_memory(
    model: WorldModel,
    task: MemoryTask,
    seed: int = 0,
    steps: int | None = None,
    batch: int = BATCH,
    keep: int = 8,
    progress: bool = False,
) -> MemoryScores:
    """Watch and imagine every clip of a task, and compare.

    Args:
        model: the world model.
        task: what to watch, what to imagine under, and the truth.
        seed: of the noise; a clip's noise depends on it and on the clip's number.
        steps: denoising passes per frame, by default the checkpoint's.
        batch: clips at once; fewer need less memory.
        keep: how many imagined clips to keep for a picture.
        progress: show a progress bar.

    Raises:
        ConfigError: the model is conditioned otherwise, or its frames are of another size.
    """
    if model.config.conditioning != task.conditioning:
        raise ConfigError(
            f"the task {task.name!r} asks by {task.conditioning}, but the model is conditioned by "
            f"{model.config.conditioning}; train one with conditioning={task.conditioning!r}"
        )
    parts: dict[str, list[Similarity]] = {MODEL: [], RECONSTRUCTION: []}
    dreamt: list[np.ndarray] = []
    clips = len(task.watched)
    for start in progress_bar(range(0, clips, batch), task.name, "batch", show=progress):
        rows = slice(start, start + batch)
        truth, given = task.truth[rows], task.given[rows]
        state = watch(model, task.watched[rows], given[:, : task.context])
        seeds = [(seed, clip) for clip in range(start, min(start + batch, clips))]
        imagined = imagine_on(model, state, given[:, task.context :], seeds, steps)
        parts[MODEL].append(similarity(imagined, truth, model.device))
        decoded = through_tokenizer(model, truth)
        parts[RECONSTRUCTION].append(similarity(decoded, truth, model.device))
        dreamt.append(imagined[: max(0, keep - start)])
    joined = {
        name: {metric: np.concatenate([p[metric] for p in found]) for metric in found[0]}
        for name, found in parts.items()
    }
    return MemoryScores(task, seed, joined | task.references, np.concatenate(dreamt))


def _rounded(data: Any) -> Any:
    """Plain data with floats to 4 digits after the point: enough for a result file."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return round(data, 4) if isinstance(data, float) else data
