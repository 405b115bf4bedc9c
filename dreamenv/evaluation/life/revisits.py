"""Are places right that were watched long ago? Revisits against the simulator's own frames.

The task is `dreamenv.evaluation.memory.revisit`: the model watches a long stretch of an episode
and imagines on under the recorded actions, to views that it watched `YOUNGEST` frames ago or
more, without having watched anything near them since. Chance is the real frame that another clip
shows at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.life.dreaming import BATCH, Dream, forgotten, kinds_of
from dreamenv.evaluation.life.turns import others
from dreamenv.evaluation.memory.contrast import contrast
from dreamenv.evaluation.memory.imagination import watch
from dreamenv.evaluation.memory.revisit import NOVEL, RETURNED
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.evaluation.metrics.similarity import psnr_of
from dreamenv.world_model.model import WorldModel

CONTEXT, HORIZON, YOUNGEST = 512, 16, 50
AGES = ((50, 100), (101, 200), (201, 528))
"""Frames since the view was watched, first and last of each row."""


@dataclass(frozen=True)
class Revisits:
    """PSNR of n clips at h imagined steps, of one number of passes."""

    task: MemoryTask
    psnr: dict[str, np.ndarray]
    """Kind of memory that was set to zero, "" for none → (n, h) dB."""
    chance: np.ndarray | None
    """(n, h) dB; None where all clips are of one episode."""
    seed: int

    def to_json(self, ages: Sequence[tuple[int, int]] = AGES) -> list[dict[str, Any]]:
        """A row for each span of ages that was found, plain data with intervals over episodes.

        `above_novel`: by how much revisited frames are better than ones never seen, at equal
        steps. `lost_db`: what each kind of memory is worth.
        """
        task, whole = self.task, self.psnr[""]
        rows = []
        for first, last in ages:
            where = task.groups[RETURNED] & (first <= task.distances) & (task.distances <= last)
            if not where.any():
                continue
            novel = contrast(whole, where, task.groups[NOVEL], task.episodes, seed=self.seed)
            rows.append(
                {
                    "ages": [first, last],
                    "frames": int(where.sum()),
                    "clips": int(where.any(1).sum()),
                    "dream": self._mean(whole, where),
                    "chance": self._mean(self.chance, where),
                    "above_novel": None if novel is None else novel.difference.to_json(),
                    "lost_db": {
                        kind: self._mean(whole - values, where)
                        for kind, values in self.psnr.items()
                        if kind
                    },
                }
            )
        return rows

    def _mean(self, values: np.ndarray | None, where: np.ndarray) -> dict[str, Any] | None:
        if values is None:
            return None
        episodes = np.broadcast_to(self.task.episodes[:, None], where.shape)
        return mean_interval(values[where], episodes[where], seed=self.seed).to_json()


def dream_revisits(
    model: WorldModel,
    task: MemoryTask,
    passes: Sequence[int | None],
    seed: int = 0,
    progress: bool = False,
) -> dict[int | None, Revisits]:
    """Watch every clip once, and imagine on with each number of passes and each kind forgotten."""
    psnr: dict[int | None, dict[str, list[np.ndarray]]] = {each: {} for each in passes}
    clips = len(task.watched)
    bar = progress_bar(title="revisits", unit="clip", total=clips, show=progress)
    for start in range(0, clips, BATCH):
        rows = slice(start, start + BATCH)
        truth, given = task.truth[rows], task.given[rows]
        watched = watch(model, task.watched[rows], given[:, : task.context])
        seeds = [(seed, start + i) for i in range(len(truth))]
        for each in passes:
            for kind in ["", *kinds_of(watched)]:
                state = watched.clone()
                state = forgotten(model, state, kind) if kind else state
                shown = Dream(model, state, seeds, each).run(given[:, task.context :])
                values = psnr_of(shown, truth)
                psnr[each].setdefault(kind, []).append(values)
        bar.update(len(truth))
    bar.close()
    other, chance = others(task.episodes), None
    if other is not None:
        chance = psnr_of(task.truth[other], task.truth)
    return {
        each: Revisits(task, {k: np.concatenate(v) for k, v in by_kind.items()}, chance, seed)
        for each, by_kind in psnr.items()
    }
