"""Scores of models whose memory is known, and that a real model's do not depend on batching."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.memory import imagination
from dreamenv.evaluation.memory.reasoning import reasoning
from dreamenv.evaluation.memory.retrieval import retrieval
from dreamenv.evaluation.memory.revisit import NOVEL, REVISITED, revisit
from dreamenv.evaluation.memory.scores import MODEL, MemoryScores, score_memory
from dreamenv.evaluation.metrics.open_loop import RECONSTRUCTION, REPEAT
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from tests.evaluation.memory.corridor import (
    OTHER,
    SAME,
    LastFrame,
    PoseMemory,
    RememberingWalker,
)
from tests.evaluation.ring_env import PLACES
from tests.world_model.models import tiny_config, tiny_model

SIZE = (PLACES, PLACES)


def test_who_remembers_everything_retrieves_it(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=7, context=12, stride=3)
    scores = score_memory(PoseMemory(), task, batch=3, keep=4)  # type: ignore[arg-type]
    assert (scores.similarity[MODEL]["psnr"] == SAME).all()
    np.testing.assert_allclose(scores.similarity[MODEL]["ssim"], 1, atol=1e-6)
    assert (scores.similarity[RECONSTRUCTION]["psnr"] == SAME).all()
    np.testing.assert_array_equal(scores.dreamt, task.truth[:4])


def test_who_remembers_one_frame_repeats_it(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=4, context=12)
    found = score_memory(LastFrame(), task).similarity  # type: ignore[arg-type]
    for metric in ("psnr", "ssim"):
        np.testing.assert_allclose(found[MODEL][metric], found[REPEAT][metric], rtol=1e-6)


def test_the_curve_falls_where_the_memory_ends(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=6, context=12)
    data = score_memory(PoseMemory(capacity=5), task).to_json()  # type: ignore[arg-type]
    model = data["scores"]["psnr"][MODEL]
    curve = model["per_frame"]["mean"]
    assert curve[:5] == [SAME] * 5 and max(curve[5:]) < OTHER
    assert [row["distance"] for row in model["by_distance"]] == [[1, 8], [9, 16], [17, 32]]
    assert [row["frames"] for row in model["by_distance"]] == [4 * 6, 4 * 6, 4 * 6]
    near, middle, far = (row["mean"] for row in model["by_distance"])
    assert near == SAME > middle > far == pytest.approx(curve[-1])
    assert model["overall"]["mean"] == pytest.approx(np.mean(curve), abs=1e-3)


def test_only_what_was_seen_can_be_remembered(circling: RolloutStore) -> None:
    task = reasoning(circling, SIZE, clips=6, context=8, horizon=12)
    data = score_memory(PoseMemory(), task).to_json()  # type: ignore[arg-type]
    model = data["scores"]["psnr"][MODEL]
    assert model["seen"]["mean"] == SAME and model["unseen"]["mean"] < OTHER
    assert data["frames"] == {"seen": 6 * 4, "unseen": 6 * 8}
    assert [(row["distance"], row["frames"]) for row in model["by_distance"]] == [([9, 16], 24)]


def test_revisited_frames_stand_beside_novel_ones(circling: RolloutStore) -> None:
    task = revisit(circling, SIZE, clips=6, context=12, horizon=8, min_age=9)
    scores = score_memory(RememberingWalker(), task)  # type: ignore[arg-type]
    model = scores.to_json()["scores"]["psnr"][MODEL]
    assert model[REVISITED]["mean"] == SAME and model[NOVEL]["mean"] < OTHER
    assert model["at_equal_steps"] == []  # novel frames come first here, revisited ones later
    task = revisit(circling, SIZE, clips=6, context=16, horizon=8, min_age=9)
    # As if every second clip were new: now both groups have frames at every step.
    new = np.arange(48).reshape(6, 8) % 2 == np.arange(6)[:, None] % 2
    task.groups.update({REVISITED: ~new, NOVEL: new})
    scores = score_memory(RememberingWalker(), task)  # type: ignore[arg-type]
    rows = scores.contrasts("psnr")
    assert [row["distance"] for row in rows] == [[9, 16], [1, None]]
    assert rows[0][REVISITED] == SAME == rows[0][NOVEL]
    assert rows[0]["difference"] == {"mean": 0, "low": 0, "high": 0}


def test_the_result_states_what_it_is_of(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=5, context=6, stride=2, seed=3)
    data = score_memory(PoseMemory(), task, seed=8).to_json()  # type: ignore[arg-type]
    assert data == json.loads(json.dumps(data))
    stated = {"task": "retrieval", "conditioning": "pose", "clips": 5, "episodes": 3}
    stated |= {"context": 6, "horizon": 6, "stride": 2, "clip_seed": 3, "noise_seed": 8}
    assert {key: data[key] for key in stated} == stated
    assert data["data"]["env_id"] == "Ring-v0" and data["data"]["episodes"] == 3
    assert data["per_clip"]["psnr"] == [SAME] * 5 and len(data["per_clip"]["start"]) == 5
    assert ("lpips" in data["scores"]) == (data["lpips_missing"] is None)


def test_intervals_draw_whole_episodes(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=4, context=6)
    known = np.repeat(10.0 * task.episodes[:, None], 6, axis=1)
    scores = MemoryScores(task, 0, {MODEL: {"psnr": known}}, task.truth[:0])
    # Four clips of three episodes: one counts twice, with it.
    assert scores.mean("psnr")["low"] == 0 and scores.mean("psnr")["high"] == 20
    assert scores.mean("ssim") is None and scores.per_frame("lpips") is None
    assert scores.mean("psnr", where=np.zeros((4, 6), bool)) is None


def test_the_wrong_conditioning_is_refused(circling: RolloutStore) -> None:
    task = retrieval(circling, SIZE, clips=2, context=6)
    with pytest.raises(ConfigError, match="asks by pose.*conditioned by action"):
        score_memory(RememberingWalker(), task)  # type: ignore[arg-type]


def pose_model(**dynamics: Any) -> WorldModel:
    """A tiny randomised model conditioned by pose."""
    box = ActionConfig(low=(0.0, 0.0, -1.0, -1.0), high=(32.0, 1.0, 1.0, 1.0))
    return tiny_model(tiny_config(dynamics, actions=box, conditioning="pose"))


@pytest.mark.parametrize(
    "dynamics",
    [{}, {"scan": "none", "attention": "full"}, {"scan": "none", "attention": "bidirectional"}],
    ids=["ours", "full", "dfot"],
)
def test_watching_in_pieces_leaves_the_same_memory(
    circling: RolloutStore, monkeypatch: pytest.MonkeyPatch, dynamics: dict[str, Any]
) -> None:
    model = pose_model(**dynamics)
    task = retrieval(circling, model.config.frame_size, clips=2, context=11)
    given = task.given[:, :11]
    whole = imagination.watch(model, task.watched, given)
    monkeypatch.setattr(imagination, "PIECE", 8)  # four frames of each of two slots
    pieces = imagination.watch(model, task.watched, given)
    for (name, a), (_, b) in zip(whole.named_tensors(), pieces.named_tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=name)


def test_a_real_model_is_scored_alike_in_any_batches(circling: RolloutStore) -> None:
    model = pose_model().float()
    task = retrieval(circling, model.config.frame_size, clips=5, context=6, stride=2)
    one, other = (score_memory(model, task, batch=batch) for batch in (5, 2))
    # Float32 sums in another order may move a pixel that lies between two of the 256 levels to
    # the other one. That pixel of a frame's 3,072 is worth 3e-5 dB of PSNR and 5e-6 of SSIM, of
    # unlike frames, whose SSIM is near zero, as of like ones: hence no tolerance in parts of it.
    levels = np.abs(one.dreamt.astype(int) - other.dreamt)
    assert len(levels) == 5 and levels.max() <= 1 and levels.sum((2, 3, 4)).max() <= 4
    tolerances = {"psnr": 4 * 3e-5, "ssim": 4 * 5e-6}
    reseeded = score_memory(model, task, seed=1)
    for metric, tolerance in tolerances.items():
        mine = one.similarity[MODEL][metric]
        np.testing.assert_allclose(other.similarity[MODEL][metric], mine, rtol=0, atol=tolerance)
        # What must not happen is larger by far: another frame, or another noise.
        assert np.ptp(mine) > 1000 * tolerance
        assert np.abs(reseeded.similarity[MODEL][metric] - mine).max() > 100 * tolerance


def test_a_real_model_walks_by_actions(circling: RolloutStore) -> None:
    model = tiny_model().float()
    task = revisit(circling, model.config.frame_size, clips=3, context=12, horizon=8, min_age=9)
    scores = score_memory(model, task)
    assert scores.dreamt.shape == (3, 8, 32, 32, 3) and np.ptp(scores.dreamt) > 0
    # An untrained model knows nothing of what it watched.
    assert scores.mean("psnr", where=task.groups[REVISITED])["mean"] < 20
