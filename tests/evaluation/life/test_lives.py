"""A perfect dream cannot be told from reality; one that fades or stands still can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.life.clips import LongClips, long_clips
from dreamenv.evaluation.life.forgetting import lost_by_forgetting, open_loop_without
from dreamenv.evaluation.life.lives import Lives, watch_lives
from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.life.rings import FADING, FadingRing, FrozenRing, RememberingRing
from tests.evaluation.ring_env import PLACES, RingOracle

SIZE = (PLACES, PLACES)
CONTEXT, HORIZON = 5, 40


@pytest.fixture(scope="module")
def clips(ring_rollouts: Path) -> LongClips:
    return long_clips(RolloutStore(ring_rollouts), 12, CONTEXT, HORIZON, SIZE, seed=0)


def lives(model: RingOracle, clips: LongClips) -> Lives:
    return watch_lives(model, clips)  # type: ignore[arg-type]


def test_a_perfect_dream_cannot_be_told_from_the_real_frames(clips: LongClips) -> None:
    found = lives(RingOracle(), clips)
    rows = json.loads(json.dumps(found.to_json()))
    assert [row["steps"] for row in rows] == [[1, 8], [9, 16], [17, 32], [33, 40]]
    for row in rows:
        for name in ("sharpness", "motion"):
            assert row[name] == pytest.approx({"mean": 1, "low": 1, "high": 1})
        assert row["distance"]["same_frames"] == pytest.approx(0, abs=1e-6)
        assert row["distance"]["ratio"]["mean"] == pytest.approx(1)
        assert row["real_or_dreamt_auc"]["mean"] == pytest.approx(0.5)
        assert row["psnr_db"]["mean"] == pytest.approx(100)
        assert row["reward"]["expected"] == row["reward"]["real"]
    np.testing.assert_array_equal(found.film.real, found.film.dreamt)
    assert found.film.steps == (1, 4, 8, 16, 32, 40)


def test_a_fading_dream_loses_sharpness_and_comes_to_look_dreamt(clips: LongClips) -> None:
    found = lives(FadingRing(), clips)
    rows = found.to_json()
    for row in rows:
        part = slice(row["steps"][0] - 1, row["steps"][1])
        real = found.real.sharpness[:, part]
        # Contrast enters the energy of gradients as its square; near an edge there is less of it.
        faded = real * FADING ** (2 * np.arange(1, HORIZON + 1)[part])
        assert row["sharpness"]["mean"] == pytest.approx(faded.sum() / real.sum(), rel=0.1)
    assert rows[-1]["real_or_dreamt_auc"]["mean"] > 0.95
    assert rows[-1]["distance"]["ratio"]["mean"] > 3
    ratios = [row["distance"]["same_frames"] for row in rows]
    assert ratios == sorted(ratios)


def test_a_frozen_dream_is_sharp_and_does_not_move(clips: LongClips) -> None:
    found = lives(FrozenRing(), clips)
    sharpness = found.dreamt.sharpness
    np.testing.assert_allclose(sharpness, sharpness[:, :1].repeat(HORIZON, 1))
    assert np.isin(sharpness[:, 0], found.real.sharpness).all(), "as sharp as that place is"
    for row in found.to_json():
        assert row["motion"]["mean"] == 0
        assert row["real_or_dreamt_auc"]["mean"] > 0.6


def test_what_is_seen_of_a_clip_does_not_depend_on_the_batch(
    clips: LongClips, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lives(RingOracle(), clips)
    monkeypatch.setattr("dreamenv.evaluation.life.clips.BATCH", 4)
    parts = lives(RingOracle(), clips)
    for name in ("sharpness", "motion", "features", "changes"):
        np.testing.assert_allclose(getattr(parts.real, name), getattr(whole.real, name))
        np.testing.assert_allclose(getattr(parts.dreamt, name), getattr(whole.dreamt, name))
    np.testing.assert_array_equal(parts.episodes, whole.episodes)


def test_a_memory_that_is_used_is_missed_and_one_that_is_not_costs_nothing(
    clips: LongClips,
) -> None:
    psnr = open_loop_without(RememberingRing(), clips)  # type: ignore[arg-type]
    assert set(psnr) == {"", "everything", "state space", "attention"}
    assert (psnr[""] > 99).all()
    np.testing.assert_array_equal(psnr["attention"], psnr[""])
    np.testing.assert_array_equal(psnr["state space"], psnr["everything"])
    lost = lost_by_forgetting(psnr, clips.episodes)
    assert lost["attention"]["8"] == {"mean": 0, "low": 0, "high": 0}
    assert lost["state space"]["1"]["mean"] > 20


def test_dreams_are_as_long_as_the_longest_episode_allows(ring_rollouts: Path) -> None:
    store = RolloutStore(ring_rollouts)
    assert long_clips(store, 2, CONTEXT, 1000, SIZE, 0).horizon == 71 - CONTEXT
    with pytest.raises(ConfigError, match="71 frames, and 71 are watched"):
        long_clips(store, 2, 71, 10, SIZE, 0)
