"""Open-loop clips: a perfect model is told apart from baselines, and nothing is off by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dreamenv.evaluation.metrics.film_strip import film_strip
from dreamenv.evaluation.metrics.held_out_data import draw_clips
from dreamenv.evaluation.metrics.open_loop import (
    MEAN,
    RECONSTRUCTION,
    REPEAT,
    Clips,
    cut_clips,
    join_clips,
    score_open_loop,
)
from dreamenv.evaluation.metrics.rewards import score_events
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import Window, model_time
from dreamenv.world_model.checkpoint import load_world_model
from tests.evaluation.ring_env import PLACES, RingOracle, frame_of, place_of, reward_of

CONTEXT, HORIZON = 5, 7
FLAT = np.full((PLACES, PLACES, 3), 16.0)


@pytest.fixture(scope="module")
def clips(ring_rollouts: Path) -> Clips:
    store = RolloutStore(ring_rollouts)
    return draw_clips(store, 40, CONTEXT + HORIZON, (PLACES, PLACES), seed=0)


def test_clips_are_in_model_time(clips: Clips) -> None:
    assert (clips.actions[:, 0] == -1).all()
    for frames, actions, rewards in zip(clips.frames, clips.actions, clips.rewards, strict=True):
        places = [place_of(frame) for frame in frames]
        for t in range(1, len(places)):
            assert places[t] == (places[t - 1] + actions[t]) % PLACES
            assert rewards[t] == reward_of(places[t], actions[t])


def test_clips_are_spread_evenly_and_one_of_each_episode_comes_first(clips: Clips) -> None:
    assert sorted(np.bincount(clips.episodes)) == [13, 13, 14]
    assert sorted(clips.episodes[:3]) == [0, 1, 2]


def test_a_perfect_model_scores_perfectly_at_every_step(clips: Clips) -> None:
    scores = score_open_loop(RingOracle(), clips, FLAT, {"oracle": None}, CONTEXT)  # type: ignore[arg-type]
    assert scores.psnr["oracle"].shape == (40, HORIZON)
    np.testing.assert_allclose(scores.psnr["oracle"], 100, atol=1e-3)
    np.testing.assert_allclose(scores.ssim["oracle"], 1, atol=1e-5)
    np.testing.assert_array_equal(scores.dreamt, clips.frames[:8, CONTEXT:])
    events = score_events(scores.events["oracle"])
    assert events.events == (clips.rewards[:, CONTEXT:] != 0).sum() > 0
    assert (events.precision, events.recall) == (1.0, 1.0)
    margin = scores.margins("oracle")[REPEAT]
    assert min(margin["low"]) > 0


def test_a_model_one_action_late_is_found_out(clips: Clips) -> None:
    late = Clips(clips.frames, np.roll(clips.actions, 1, 1), clips.rewards, clips.episodes)
    scores = score_open_loop(RingOracle(), late, FLAT, {"oracle": None}, CONTEXT)  # type: ignore[arg-type]
    assert scores.psnr["oracle"].mean() < 60


def test_baselines_are_what_they_are_called(clips: Clips) -> None:
    scores = score_open_loop(RingOracle(), clips, FLAT, {"oracle": None}, CONTEXT)  # type: ignore[arg-type]
    real = clips.frames.astype(np.float64) / 255

    def psnr(shown: np.ndarray) -> np.ndarray:
        error = np.square(real[:, CONTEXT:] - shown).mean((2, 3, 4))
        return -10 * np.log10(error.clip(min=1e-10))

    repeated = psnr(real[:, CONTEXT - 1 : CONTEXT])
    np.testing.assert_allclose(scores.psnr[REPEAT], repeated, rtol=1e-4)
    np.testing.assert_allclose(scores.psnr[MEAN], psnr(FLAT / 255), rtol=1e-4)
    np.testing.assert_allclose(scores.psnr[RECONSTRUCTION], 100, atol=1e-3)


def test_samplers_begin_from_the_same_noise_and_the_seed_decides(
    clips: Clips, ring_checkpoint: Path
) -> None:
    model = load_world_model(ring_checkpoint)
    samplers = {"a": None, "b": model.config.sampler.steps, "c": 1}

    def psnr(seed: int) -> dict[str, np.ndarray]:
        return score_open_loop(model, clips, FLAT, samplers, CONTEXT, seed).psnr

    first, again, other = psnr(0), psnr(0), psnr(1)
    np.testing.assert_array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], first["c"])
    np.testing.assert_array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], other["a"])


def test_clips_of_box_actions_begin_with_none() -> None:
    episode = Window(
        np.zeros((9, 16, 16, 3), np.uint8),
        np.arange(36, dtype=np.float32).reshape(9, 4),
        np.zeros(9, np.float32),
        np.zeros(9, np.bool_),
    )
    clips = join_clips([cut_clips(episode, [2, 3], 4, label=5)])
    assert clips.actions.shape == (2, 4, 4)
    assert np.isnan(clips.actions[:, 0]).all()
    np.testing.assert_array_equal(clips.actions[0, 1], [12, 13, 14, 15])
    assert clips.episodes.tolist() == [5, 5]


def test_film_strip_shows_real_above_dreamt() -> None:
    real = np.stack([frame_of(t, 1) for t in range(6)])[None]
    dreamt = np.stack([frame_of(15 - t, 1) for t in range(2)])[None]
    picture = film_strip(real, dreamt, context=4, scale=1)
    height, width = picture.shape[:2]
    imagined = picture[:, width - 2 * 18 :]  # the two imagined steps are the last columns
    above = imagined[height - 42 : height - 26, :16]
    below = imagined[height - 24 : height - 8, :16]
    np.testing.assert_array_equal(above, real[0, 4])
    np.testing.assert_array_equal(below, dreamt[0, 0])
    gray = film_strip(real[..., :1], dreamt[..., :1], context=4, scale=1)
    np.testing.assert_array_equal(gray, picture)


def test_model_time_of_an_episode_gives_the_same_clips(ring_rollouts: Path) -> None:
    store = RolloutStore(ring_rollouts)
    window = model_time(store.read(1), store.action_space)
    clip = cut_clips(window, [10], 6, 1)
    assert torch.equal(torch.from_numpy(clip.frames[0]), torch.from_numpy(window.frames[10:16]))
    np.testing.assert_array_equal(clip.actions[0, 1:], store.read(1).action[10:15])
