"""Probes find what is linear, find nothing where nothing is, and know no group by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.memory.probe import RIDGES, choose_ridge, cross_fitted, fit_probe

ROWS, WIDTH, CLASSES = 300, 12, 3


@pytest.fixture
def features(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(ROWS, WIDTH)) * np.geomspace(0.01, 100, WIDTH)


@pytest.fixture
def groups() -> np.ndarray:
    return np.arange(ROWS) // 10


def linear_labels(features: np.ndarray) -> np.ndarray:
    """A linear function of features of very different scale."""
    scores = features[:, [0, 5, 11]] / features[:, [0, 5, 11]].std(0)
    return scores.argmax(1)


def test_a_linear_label_is_found(features: np.ndarray, groups: np.ndarray) -> None:
    labels = linear_labels(features)
    assert (cross_fitted(features, labels, groups, CLASSES) == labels).mean() > 0.93


def test_no_label_is_found_where_there_is_none(
    features: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> None:
    labels = rng.integers(CLASSES, size=ROWS)
    assert abs((cross_fitted(features, labels, groups, CLASSES) == labels).mean() - 1 / 3) < 0.1


def test_knowing_the_group_is_of_no_use(groups: np.ndarray, rng: np.random.Generator) -> None:
    # Features name the group and groups decide the label: seen rows are easy, others a guess.
    features = np.eye(groups.max() + 1)[groups]
    labels = rng.integers(2, size=groups.max() + 1)[groups]
    assert (fit_probe(features, labels, 2, ridge=1e-3).predict(features) == labels).all()
    assert (cross_fitted(features, labels, groups, 2) == labels).mean() < 0.7


def test_every_row_is_labelled_by_the_other_half(groups: np.ndarray) -> None:
    # Within a half the label is the feature's sign; between the halves the sign is turned.
    features = np.where(np.arange(ROWS) % 2, 1.0, -1.0)[:, None]
    names = np.random.default_rng(0).permutation(np.unique(groups))
    first = np.isin(groups, names[: len(names) // 2])
    labels = ((features[:, 0] > 0) ^ first).astype(np.int64)
    assert (cross_fitted(features, labels, groups, 2) != labels).all()


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_the_fit_is_where_the_gradient_vanishes(features: np.ndarray, ridge: float) -> None:
    labels = linear_labels(features)
    probe = fit_probe(features, labels, CLASSES, ridge)
    x = (features - features.mean(0)) / features.std(0)
    odds = probe.logits(features).softmax(-1).numpy() - np.eye(CLASSES)[labels]
    gradient = x.T @ odds / ROWS + ridge * probe.weights.numpy()
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_scale_and_offset_of_features_do_not_matter(features: np.ndarray) -> None:
    labels = linear_labels(features)
    one = fit_probe(features, labels, CLASSES, 0.1)
    other = fit_probe(1000 * features - 7, labels, CLASSES, 0.1)
    torch.testing.assert_close(one.logits(features), other.logits(1000 * features - 7))


def test_features_that_never_vary_are_not_used(features: np.ndarray) -> None:
    labels = linear_labels(features)
    padded = np.concatenate([features, np.full((ROWS, 1), 3.0)], 1)
    probe = fit_probe(padded, labels, CLASSES, 0.1)
    changed = padded.copy()
    changed[:, -1] = 1e6
    expected = fit_probe(features, labels, CLASSES, 0.1).predict(features)
    np.testing.assert_array_equal(probe.predict(changed), expected)


def test_the_penalty_fits_the_data(
    features: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> None:
    labels = linear_labels(features)
    assert choose_ridge(features, labels, groups, CLASSES) < 0.1
    noise = rng.integers(CLASSES, size=ROWS)
    assert choose_ridge(features, noise, groups, CLASSES) >= 1
    assert choose_ridge(features, noise, np.zeros(ROWS), CLASSES) == RIDGES[len(RIDGES) // 2]


def test_a_label_never_seen_is_never_given(features: np.ndarray) -> None:
    probe = fit_probe(features, np.full(ROWS, 1), CLASSES, 0.1)
    assert (probe.predict(features) == 1).all()


def test_one_group_cannot_be_halved(features: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="two or more"):
        cross_fitted(features, np.zeros(ROWS, np.int64), np.zeros(ROWS), CLASSES)
