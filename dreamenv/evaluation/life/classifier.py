"""Can real and dreamt frames be told apart? AUC of a linear classifier on frames and changes.

Fitted on half of the episodes, its penalty chosen within them, and scored on the other half, and
the other way round. 0.5: not at all; 1: always.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamenv.core.statistics import statistic_interval
from dreamenv.evaluation.memory.probe import choose_ridge, fit_probe

REAL, DREAMT = 0, 1


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Chance that a dreamt frame scores above a real one, ties counting half; None without both."""
    real, dreamt = np.sort(scores[labels == REAL]), scores[labels == DREAMT]
    if not len(real) or not len(dreamt):
        return None
    below = np.searchsorted(real, dreamt, "left") + np.searchsorted(real, dreamt, "right")
    return float(below.mean() / 2 / len(real))


def telling_apart(
    dreamt: np.ndarray, real: np.ndarray, episodes: np.ndarray, seed: int = 0
) -> dict[str, Any] | None:
    """AUC with its interval over episodes; None where there is but one episode.

    Args:
        dreamt: (n, t, d) features of dreamt frames.
        real: (n, t, d) of real ones.
        episodes: (n,) which episode each clip is from.
        seed: of the halves and the draws.
    """
    names = np.random.default_rng(seed).permutation(np.unique(episodes))
    if len(names) < 2:
        return None
    frames, width = real.shape[1:]
    groups = np.tile(np.repeat(episodes, frames), 2)
    labels = np.repeat([REAL, DREAMT], len(episodes) * frames)
    features = np.concatenate([real.reshape(-1, width), dreamt.reshape(-1, width)])
    first = np.isin(groups, names[: len(names) // 2])
    scores = np.zeros(len(labels))
    for half in (first, ~first):
        known = features[~half], labels[~half]
        ridge = choose_ridge(*known, groups[~half], 2, seed)
        probe = fit_probe(*known, 2, ridge)
        logits = probe.logits(features[half]).numpy()
        scores[half] = logits[:, DREAMT] - logits[:, REAL]

    def both(rows: np.ndarray) -> float | None:
        # Scores of two classifiers are no common scale: each half is ranked by itself.
        found = [
            auc(scores[part], labels[part])
            for part in (rows[first[rows]], rows[~first[rows]])
            if len(part)
        ]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else None

    return statistic_interval(both, groups, seed=seed).to_json()
