"""What each task asks for, on walks whose every return is known; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.evaluation.memory.reasoning import NEAREST, reasoning
from dreamenv.evaluation.memory.retrieval import retrieval
from dreamenv.evaluation.memory.revisit import NOVEL, REVISITED, revisit
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.memory.corridor import (
    OTHER,
    SAME,
    episode_of,
    place_of_pose,
    write_walks,
)
from tests.evaluation.ring_env import PLACES, place_of

SIZE = (PLACES, PLACES)


def require_truth_at_given_poses(task: MemoryTask) -> None:
    """The pose of every asked frame is that of the frame that should be seen."""
    for poses, frames in zip(task.given[:, task.context :], task.truth, strict=True):
        places = [place_of(frame) for frame in frames]
        assert places == [place_of_pose(pose) for pose in poses]


@pytest.mark.parametrize("horizon", [None, 4])
def test_retrieval_asks_for_the_exact_reverse(circling: RolloutStore, horizon: int | None) -> None:
    task = retrieval(circling, SIZE, clips=5, context=8, horizon=horizon, stride=2, window=3)
    assert (task.context, task.horizon) == (8, horizon or 8)
    require_truth_at_given_poses(task)
    for i in range(task.horizon):
        np.testing.assert_array_equal(task.truth[:, i], task.watched[:, 7 - i])
        assert (task.distances[:, i] == 2 * i + 1).all()
    (copied,) = task.copies.values()
    assert (copied[:, :3] == [7, 6, 5]).all() and (copied >= 5).all()


def test_reasoning_tells_what_was_seen_and_when(circling: RolloutStore) -> None:
    # Of the ring of 16 places 8 are watched, then the 8 others come, then those of before.
    task = reasoning(circling, SIZE, clips=4, context=8, horizon=16)
    require_truth_at_given_poses(task)
    assert task.groups["seen"].tolist() == [[False] * 8 + [True] * 8] * 4
    np.testing.assert_array_equal(task.groups["unseen"], ~task.groups["seen"])
    assert task.distances.tolist() == [[0] * 8 + [16] * 8] * 4
    assert task.copies[NEAREST][0, 8:].tolist() == list(range(8))
    assert task.about["coverage"]["mean"] == 0.5
    whole = reasoning(circling, SIZE, clips=4, context=20, horizon=5)
    assert (whole.distances == 16).all() and whole.about["coverage"]["mean"] == 1


def test_revisit_finds_returns_after_a_long_time(circling: RolloutStore) -> None:
    two = revisit(circling, SIZE, clips=2, context=12, horizon=8, min_age=9)
    assert len(set(two.episodes)) == 2
    task = revisit(circling, SIZE, clips=6, context=12, horizon=8, min_age=9)
    assert len(task.watched) == 6 and set(task.episodes) == {0, 1, 2}
    assert len(set(zip(task.episodes, task.starts, strict=True))) == 6
    for frames, start, episode in zip(task.truth, task.starts, task.episodes, strict=True):
        first = 3 * episode + start + 12
        assert [place_of(f) for f in frames] == [(first + j) % PLACES for j in range(8)]
    # Four places were not watched; then come those of the beginning, 16 frames ago.
    assert task.groups[REVISITED].tolist() == [[False] * 4 + [True] * 4] * 6
    assert task.groups[NOVEL].tolist() == [[True] * 4 + [False] * 4] * 6
    assert task.distances.tolist() == [[0] * 4 + [16] * 4] * 6
    assert (task.given[:, 0] == -1).all() and (task.given[:, 1:] == 1).all()


def test_standing_still_is_neither_a_return_nor_news(tmp_path: Path) -> None:
    walk = episode_of([1] * 36 + [0] * 10 + [1] * 30)
    store = RolloutStore(write_walks(tmp_path / "store", [walk]))
    task = revisit(store, SIZE, clips=100, context=20, horizon=10, min_age=12)
    places = [place_of(frame) for frame in walk.observation]
    recent = 0
    for clip, start in enumerate(task.starts):
        for step in range(10):
            now = start + 20 + step
            watched = [i for i in range(start, start + 20) if places[i] == places[now]]
            age = now - watched[-1] if watched else 0
            assert task.groups[NOVEL][clip, step] == (not watched)
            assert task.groups[REVISITED][clip, step] == (age >= 12)
            assert task.distances[clip, step] == (age if age >= 12 else 0)
            recent += 0 < age < 12
    assert recent


def test_half_of_the_clips_are_chosen_for_something_new(tmp_path: Path) -> None:
    # One walker goes round; the other stands for long and then goes where it never was.
    walks = [episode_of([1] * 40), episode_of([0] * 30 + [1] * 10, seed=1)]
    store = RolloutStore(write_walks(tmp_path / "store", walks))
    task = revisit(store, SIZE, clips=4, context=20, horizon=1, min_age=14)
    new = task.groups[NOVEL].any(1)
    assert len(new) == 4 and new.sum() == 2 and task.groups[REVISITED].any(1).sum() == 2


def test_what_needs_no_model_is_scored_as_known(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=3, context=10, window=3)
    found = {name: metrics["psnr"][0] for name, metrics in task.references.items()}
    np.testing.assert_allclose(found["repeat last frame"], [SAME] + [OTHER] * 9, rtol=1e-5)
    copied = found["nearest pose of the last 3 frames"]
    np.testing.assert_allclose(copied, [SAME] * 3 + [OTHER] * 7, rtol=1e-5)
    # All watched frames are equally often black in all but one column.
    assert np.ptp(found["mean frame"]) < 1 and found["mean frame"][0] > OTHER


def test_impossible_tasks_are_refused(
    circling: RolloutStore, without_poses: RolloutStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="1 … 10 frames back"):
        retrieval(circling, SIZE, context=10, horizon=11)
    with pytest.raises(ConfigError, match="window of 12"):
        retrieval(circling, SIZE, context=10, window=12)
    with pytest.raises(ConfigError, match="at least 1"):
        reasoning(circling, SIZE, horizon=0)
    with pytest.raises(ConfigError, match="horizon < min_age"):
        revisit(circling, SIZE, context=30, horizon=16, min_age=16)
    with pytest.raises(RolloutError, match="--record-info"):
        revisit(without_poses, SIZE, context=12, horizon=4, min_age=9)
    with pytest.raises(RolloutError, match="longest episode has 71"):
        reasoning(circling, SIZE, context=64, horizon=8)
    store = RolloutStore(write_walks(tmp_path / "store", [episode_of([1] * 15)]))
    with pytest.raises(RolloutError, match="no walker comes back.*out_and_back"):
        revisit(store, SIZE, context=10, horizon=2, min_age=5)
