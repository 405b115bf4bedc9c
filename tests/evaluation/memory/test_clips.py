"""Clips hold what was recorded at their places, and are spread over the store."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.memory.clips import draw_pose_clips
from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.memory.conftest import STEPS
from tests.evaluation.memory.corridor import place_of_pose, pose_of_place
from tests.evaluation.ring_env import PLACES, place_of

SIZE = (PLACES, PLACES)


@pytest.mark.parametrize("stride", [1, 3])
def test_frames_poses_actions_and_infos_belong_together(
    circling: RolloutStore, stride: int
) -> None:
    clips = draw_pose_clips(circling, 7, 12, SIZE, stride)
    assert clips.frames.shape == (7, 12, *SIZE, 3) and clips.frames.dtype == np.uint8
    assert clips.poses.shape == (7, 12, 4) and clips.poses.dtype == np.float32
    for i in range(len(clips)):
        places = np.array([place_of(frame) for frame in clips.frames[i]])
        first = 3 * clips.episodes[i] + clips.starts[i]
        np.testing.assert_array_equal(places, (first + stride * np.arange(12)) % PLACES)
        np.testing.assert_array_equal(clips.poses[i], pose_of_place(places))
        np.testing.assert_array_equal(clips.info["target_index"][i], places // 4)
    assert set(clips.info) == {"target_index", "maze_layout"}
    assert (clips.actions[:, 0] == -1).all() and (clips.actions[:, 1:] == 1).all()
    assert place_of_pose(clips.poses[0, 0]) == place_of(clips.frames[0, 0])


def test_draws_are_spread_differ_and_repeat(circling: RolloutStore) -> None:
    clips = draw_pose_clips(circling, 40, 20, SIZE, seed=1)
    assert sorted(np.bincount(clips.episodes)) == [13, 13, 14]
    assert sorted(clips.episodes[:3]) == [0, 1, 2]
    places = list(zip(clips.episodes, clips.starts, strict=True))
    assert len(set(places)) == 40
    for episode in range(3):  # over the whole length of the episode
        starts = clips.starts[clips.episodes == episode]
        assert starts.min() < 10 and starts.max() > STEPS - 20 - 10
    again = draw_pose_clips(circling, 40, 20, SIZE, seed=1)
    np.testing.assert_array_equal(again.starts, clips.starts)
    other = draw_pose_clips(circling, 40, 20, SIZE, seed=2)
    assert not np.array_equal(other.starts, clips.starts)


def test_every_possible_start_can_be_drawn(circling: RolloutStore) -> None:
    possible = STEPS + 1 - 2 * 32
    clips = draw_pose_clips(circling, 3 * possible, 33, SIZE, stride=2)
    assert sorted(clips.starts[clips.episodes == 1]) == list(range(possible))
    with pytest.raises(RolloutError, match="only 7 starts"):
        draw_pose_clips(circling, 3 * possible + 1, 33, SIZE, stride=2)


def test_what_cannot_be_cut_is_refused(circling: RolloutStore, without_poses: RolloutStore) -> None:
    with pytest.raises(RolloutError, match="without agent_pos and agent_dir.*--record-info"):
        draw_pose_clips(without_poses, 2, 5, SIZE)
    with pytest.raises(RolloutError, match="spans 73 recorded ones.*longest episode has 71"):
        draw_pose_clips(circling, 2, 37, SIZE, stride=2)
    with pytest.raises(RolloutError, match="at least 1"):
        draw_pose_clips(circling, 2, 5, SIZE, stride=0)
