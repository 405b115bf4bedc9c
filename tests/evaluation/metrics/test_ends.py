"""Ends of episodes: where clips are cut, and what precision and recall count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counting_env import step_of

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.metrics import ends
from dreamenv.evaluation.metrics.ends import EndClips, draw_end_clips, dream_ends
from dreamenv.evaluation.metrics.rewards import score_events
from dreamenv.rollouts.store import RolloutStore
from tests.conftest import write_counting_store

CONTEXT, HORIZON = 4, 6


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    path = tmp_path_factory.mktemp("ends") / "store"
    return RolloutStore(write_counting_store(path, 4, 30))


def test_half_of_the_clips_end_where_the_episode_does(store: RolloutStore) -> None:
    clips = draw_end_clips(store, (16, 16), 20, CONTEXT, HORIZON)
    first = [step_of(np.asarray(store.read(0).observation[0]))]
    assert first == [0] and clips.frames.shape[:2] == (20, CONTEXT)
    ending, lasting = clips.ended[:10], clips.ended[10:]
    assert (ending.sum(1) == 1).all() and not lasting.any()
    # The end is the last frame that the real episode has.
    assert (clips.lived.sum(1)[:10] == ending.argmax(1) + 1).all() and clips.lived[10:].all()
    assert len(set(ending.argmax(1))) > 1, "at different steps"
    assert (clips.actions[:, 0] == -1).all() and (clips.actions[:, 1:] >= 0).all()


def test_without_ends_it_is_said(tmp_path: Path) -> None:
    short = RolloutStore(write_counting_store(tmp_path / "short", 2, CONTEXT - 1))
    with pytest.raises(RolloutError, match="ends cannot be measured"):
        draw_end_clips(short, (16, 16), 4, CONTEXT, HORIZON)


def dreamt(continuation: list[list[float]], ended: list[int | None], monkeypatch: object) -> object:
    """Scores of dreams that say so of each step; `ended` is the step of the real end."""
    count, horizon = len(continuation), len(continuation[0])
    there, lived = np.zeros((count, horizon), bool), np.ones((count, horizon), bool)
    for row, step in enumerate(ended):
        if step is not None:
            there[row, step] = True
            lived[row, step + 1 :] = False
    outcome = SimpleNamespace(continuation=torch.tensor(continuation))
    monkeypatch.setattr(  # type: ignore[attr-defined]
        ends, "imagine_under", lambda *_: SimpleNamespace(outcome=outcome)
    )
    clips = EndClips(np.zeros((count, 1, 1, 1, 1)), np.zeros((count, 1)), there, lived)
    model = SimpleNamespace(device=torch.device("cpu"))
    return score_events(dream_ends(model, clips), ends.TOLERANCE)  # type: ignore[arg-type]


def test_a_dream_that_knows_its_ends_scores_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dreamt([[0.9, 0.9, 0.1, 0.1], [0.9] * 4], [2, None], monkeypatch)
    assert found.precision == found.recall == 1 and found.predicted == 1  # type: ignore[attr-defined]


def test_a_dream_ends_once_and_nothing_is_read_behind_a_real_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = dreamt([[0.1] * 8], [7], monkeypatch)
    assert (early.predicted, early.correct) == (1, 0)  # type: ignore[attr-defined]
    late = dreamt([[0.9, 0.9, 0.1, 0.1]], [1], monkeypatch)
    assert (late.predicted, late.recall) == (0, 0)  # type: ignore[attr-defined]
