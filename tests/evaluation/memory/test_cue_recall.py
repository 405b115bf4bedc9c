"""Cue recall: a perfect memory is right at every distance, one of n frames up to n frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.evaluation.memory import cue_recall as module
from dreamenv.evaluation.memory.cue_questions import (
    GAP,
    Question,
    draw_questions,
    view_episode,
)
from dreamenv.evaluation.memory.cue_recall import CueRecall, cue_recall
from dreamenv.real.memory_maze.target_colours import NO_COLOUR
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from tests.evaluation.memory.two_rooms import (
    HIDE,
    LOOK,
    LOOKING_LEFT,
    LOOKING_RIGHT,
    PLACES,
    SIZE,
    Rememberer,
    episode_of,
    write_episodes,
)
from tests.world_model.models import randomise, tiny_config

STRIDE = 2
DISTANCES = (20, 40, 100, 1000)
EPISODES = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    """Eight episodes, in half of which the targets are swapped."""
    episodes = [episode_of(seed % 4 > 1, seed) for seed in range(EPISODES)]
    return RolloutStore(write_episodes(tmp_path_factory.mktemp("rooms") / "store", episodes))


def recall(store: RolloutStore, window: int = 10**6, **arguments: int) -> CueRecall:
    """What a model answers that remembers the last `window` frames."""
    return cue_recall(Rememberer(window), store, STRIDE, DISTANCES, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def perfect(store: RolloutStore) -> CueRecall:
    return recall(store)


@pytest.fixture(scope="module")
def questions(store: RolloutStore) -> list[Question]:
    return _questions_of(store, 2)


def _questions_of(store: RolloutStore, episode: int) -> list[Question]:
    view = view_episode(store, episode, STRIDE, SIZE)
    return draw_questions(view, episode, STRIDE, DISTANCES, 100, np.random.default_rng(0))


def test_an_absence_a_little_too_short_counts_for_the_distance(store: RolloutStore) -> None:
    view = view_episode(store, 0, STRIDE, SIZE)
    elapsed = {
        distance: {
            question.elapsed
            for question in draw_questions(view, 0, STRIDE, (distance,), 9, np.random.default_rng())
            if question.target == 0 and question.watched * STRIDE <= LOOK * 2 + HIDE
        }
        for distance in (HIDE, HIDE + 20, 2 * HIDE)
    }
    # It is out of view while the other is looked at, and in the cellar.
    assert elapsed == {HIDE: {HIDE}, HIDE + 20: {LOOK + HIDE}, 2 * HIDE: set()}


def test_every_stay_in_the_cellar_gives_a_question_per_target_and_distance(
    questions: list[Question],
) -> None:
    # The left target is out of view from when the walker looks right, the other from then on.
    assert len(questions) == 2 * 2 * 3
    assert [q.watched for q in questions] == sorted(q.watched for q in questions)
    for question in questions:
        assert question.elapsed == question.distance
        # All frames of a look are alike, and the first of the best is asked for.
        assert question.age == question.elapsed + LOOK - STRIDE
        cycle = (question.watched - 1) * STRIDE // (2 * LOOK + HIDE) * (2 * LOOK + HIDE)
        left = np.allclose(question.pose, LOOKING_LEFT)
        last = cycle + (LOOK if left else 2 * LOOK) - STRIDE
        assert (question.watched - 1) * STRIDE - last == question.elapsed
        assert np.allclose(question.pose, LOOKING_LEFT if left else LOOKING_RIGHT)
        # Target 0 is on the right in this episode.
        assert question.target == (1 if left else 0)
        assert question.alone == (not left)
        assert question.mask.sum() > 10
        assert not question.mask[0].any()


def test_no_more_questions_are_drawn_than_asked_for(store: RolloutStore) -> None:
    view = view_episode(store, 0, STRIDE, SIZE)
    drawn = draw_questions(view, 0, STRIDE, (20, 40), 3, np.random.default_rng(0))
    assert [sum(q.distance == d for q in drawn) for d in (20, 40)] == [3, 3]


def test_a_short_absence_does_not_end_a_sighting(store: RolloutStore) -> None:
    view = view_episode(store, 0, STRIDE, SIZE)
    before = draw_questions(view, 0, STRIDE, (40,), 100, np.random.default_rng(0))
    last = LOOK // STRIDE - 1 + GAP // STRIDE + 1
    view.targets[0].seen[last] = True  # a glimpse, too little to ask for
    after = draw_questions(view, 0, STRIDE, (40,), 100, np.random.default_rng(0))
    assert len(after) == len(before)
    moved = [q for q in after if q.target == 0][0]
    assert np.allclose(moved.pose, LOOKING_LEFT)
    assert moved.age - moved.elapsed == last * STRIDE


def test_a_target_that_was_never_well_in_view_is_not_asked_for(store: RolloutStore) -> None:
    view = view_episode(store, 0, STRIDE, SIZE)
    view.targets[0].mask[:] &= view.targets[0].mask[:].cumsum(2) < 2
    drawn = draw_questions(view, 0, STRIDE, (40,), 100, np.random.default_rng(0))
    assert {q.target for q in drawn} == {1}


def test_a_perfect_memory_answers_everything(perfect: CueRecall) -> None:
    assert len(perfect.target) == EPISODES * 2 * 2 * 3
    for way in ("probe", "decode", "decode nearest", "reconstruction"):
        assert perfect.correct(way).all(), way
    np.testing.assert_allclose(perfect.psnr["decode"], 100)
    np.testing.assert_allclose(perfect.psnr["reconstruction"], 100)


def test_a_memory_of_nothing_is_no_better_than_chance(perfect: CueRecall) -> None:
    chance = np.bincount(perfect.target).max() / len(perfect.target)
    assert perfect.correct("probe control").mean() < chance + 0.15
    assert len(set(perfect.read["decode nearest control"])) == 1
    assert (perfect.psnr["decode control"] < 20).all()


def test_a_memory_of_some_frames_is_right_as_long_as_it_lasts(store: RolloutStore) -> None:
    answers = recall(store, window=40 // STRIDE)
    near, far = answers.distance == 20, answers.distance == 100
    assert answers.correct("decode")[near].all()
    assert answers.correct("probe")[near].all()
    assert (answers.read["decode"][far] == NO_COLOUR).all()
    assert answers.correct("decode nearest")[far].mean() <= 0.7
    assert answers.correct("probe")[far].mean() <= 0.7


def test_each_frame_is_watched_once_and_answers_do_not_depend_on_how(
    store: RolloutStore, perfect: CueRecall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 3)
    model = Rememberer()
    in_pieces = cue_recall(model, store, STRIDE, DISTANCES)  # type: ignore[arg-type]
    assert max(model.watched) == 3
    assert sum(model.watched) == sum(
        max(q.watched for q in _questions_of(store, episode)) for episode in range(EPISODES)
    )
    np.testing.assert_array_equal(in_pieces.elapsed, perfect.elapsed)
    for way, answers in perfect.read.items():
        np.testing.assert_array_equal(in_pieces.read[way], answers)


def test_the_summary_states_counts_and_chance(perfect: CueRecall) -> None:
    summary = json.loads(json.dumps(perfect.to_json()))
    assert summary["questions"] == len(perfect.target)
    assert summary["data"]["episodes"] == EPISODES
    assert summary["stride"] == STRIDE and summary["denoising_steps"] == 2
    near, *_, far = summary["by_distance"]
    assert far == {"distance": 1000, "questions": 0}
    assert near["questions"] == EPISODES * 4 and near["episodes"] == EPISODES
    assert near["answers"] == {"red": EPISODES * 2, "green": EPISODES * 2}
    assert near["chance"] == 0.5
    assert near["accuracy"]["decode"] == {"mean": 1, "low": 1, "high": 1}
    assert near["no_colour"] == 0
    assert near["no_other_target_seen_since"]["questions"] == EPISODES * 2
    assert near["elapsed_mean"] == 20 and near["age_mean"] == 20 + LOOK - STRIDE


def test_the_seed_decides(store: RolloutStore) -> None:
    one, again, other = (recall(store, queries=1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.target, again.target)
    np.testing.assert_array_equal(one.read["probe"], again.read["probe"])
    assert one.target.tolist() != other.target.tolist()


def test_a_world_model_can_be_asked(store: RolloutStore) -> None:
    low, high = (0.0, 0.0, -1.0, -1.0), (7.0, 7.0, 1.0, 1.0)
    torch.manual_seed(0)
    model = WorldModel(tiny_config(conditioning="pose", actions=ActionConfig(low=low, high=high)))
    randomise(model)
    answers = cue_recall(model, store, 8, (40, 100), queries=1)
    assert np.isfinite(answers.psnr["decode"]).all()
    assert json.dumps(answers.to_json())


def test_models_under_actions_are_refused(store: RolloutStore) -> None:
    with pytest.raises(ConfigError, match="--conditioning pose"):
        cue_recall(Rememberer(conditioning="action"), store)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"stride": 0}, {"queries": 0}, {"distances": ()}])
def test_impossible_arguments_are_refused(store: RolloutStore, arguments: dict) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        cue_recall(Rememberer(), store, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["targets_pos", "maze_layout", "agent_pos"])
def test_rollouts_without_the_infos_are_refused(tmp_path: Path, missing: str) -> None:
    path = write_episodes(tmp_path / "store", [episode_of(False, 0, without=missing)])
    with pytest.raises(RolloutError, match=f"without {missing}.*--record-info"):
        recall(RolloutStore(path))


def test_one_episode_is_not_enough(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "store", [episode_of(False, 0)])
    with pytest.raises(RolloutError, match="fewer than two episodes"):
        recall(RolloutStore(path))


def test_places_of_the_test_maze_are_where_they_are_looked_for() -> None:
    for pose, place in zip((LOOKING_LEFT, LOOKING_RIGHT), PLACES, strict=True):
        towards = (place - pose[:2]) / np.linalg.norm(place - pose[:2])
        assert towards @ pose[2:] > 0.95
