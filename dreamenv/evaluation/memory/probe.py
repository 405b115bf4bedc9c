"""Linear probes: can a label be read off features by a linear map?

Multinomial logistic regression with a ridge penalty, on standardised features. What a probe
learned on some episodes is scored on others, so it cannot know an episode by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from dreamenv.core.errors import ConfigError

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties tried: half of ridge · ‖weights‖² is added to the mean log loss, in nats."""


@dataclass(frozen=True)
class Probe:
    """Label = the largest of `((features − mean) / scale) @ weights + bias`."""

    mean: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def logits(self, features: np.ndarray) -> torch.Tensor:
        """Log odds (n, classes), float64, of features (n, d)."""
        x = torch.as_tensor(features, dtype=torch.float64)
        return (x - self.mean) / self.scale @ self.weights + self.bias

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The likeliest label of each row of features (n, d); (n,) int64."""
        return self.logits(features).argmax(-1).numpy()


def fit_probe(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float) -> Probe:
    """Fit a probe to features (n, d) and labels (n,) in range(classes), by L-BFGS in float64.

    Features that do not vary are not used.
    """
    x = torch.as_tensor(features, dtype=torch.float64)
    y = torch.as_tensor(labels, dtype=torch.int64)
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 1e-9, scale, torch.inf)
    x = (x - mean) / scale
    weights = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        # The bias is all but free; unpenalised, it would run off where a class is missing.
        penalty = weights.square().sum() + 1e-6 * bias.square().sum()
        value = F.cross_entropy(x @ weights + bias, y) + ridge / 2 * penalty
        value.backward()
        return value

    optimizer.step(loss)
    return Probe(mean, scale, weights.detach(), bias.detach())


def choose_ridge(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, classes: int, seed: int = 0
) -> float:
    """The one of `RIDGES` with the least log loss on groups (n,) that were left out.

    With a single group there is nothing to leave out, and the middle one is taken.
    """
    if len(np.unique(groups)) < 2:
        return RIDGES[len(RIDGES) // 2]
    loss = dict.fromkeys(RIDGES, 0.0)
    for held_out in _halves(groups, seed):
        left_out = torch.as_tensor(labels[held_out], dtype=torch.int64)
        for ridge in RIDGES:
            probe = fit_probe(features[~held_out], labels[~held_out], classes, ridge)
            logits = probe.logits(features[held_out])
            loss[ridge] += float(F.cross_entropy(logits, left_out, reduction="sum"))
    return min(loss, key=loss.__getitem__)


def cross_fitted(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, classes: int, seed: int = 0
) -> np.ndarray:
    """Label every row by a probe that was fitted to the other half of the groups.

    Args:
        features: (n, d).
        labels: (n,) in range(classes).
        groups: (n,) rows of equal group, such as an episode, fall into the same half.
        classes: how many labels there are.
        seed: of the halves.

    Returns:
        (n,) predicted labels.

    Raises:
        ConfigError: there are fewer than two groups.
    """
    if len(np.unique(groups)) < 2:
        raise ConfigError("a probe is fitted on some groups and scored on others: give two or more")
    predicted = np.zeros(len(labels), np.int64)
    for held_out in _halves(groups, seed):
        known = features[~held_out], labels[~held_out]
        ridge = choose_ridge(*known, groups[~held_out], classes, seed)
        predicted[held_out] = fit_probe(*known, classes, ridge).predict(features[held_out])
    return predicted


def _halves(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two complementary masks (n,), each true for half of the groups."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    first = np.isin(groups, names[: len(names) // 2])
    return first, ~first
