"""Targets that come back into view: asked once per return, and only a memory knows their colour."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.life.cues import dream_returns, find_returns
from dreamenv.evaluation.memory.cue_questions import good_sightings, view_episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.state import State
from tests.evaluation.memory.two_rooms import HIDE, LOOK, SIZE, episode_of, write_episodes

ROUND = 2 * LOOK + HIDE
"""Frames after which a walker sees the same again."""
AWAY = LOOK + HIDE
"""Frames that each target is out of view."""


class OnceMore:
    """Shows what it watched `ROUND` frames ago, or black where it remembers nothing."""

    device = torch.device("cpu")
    config = SimpleNamespace(frame_size=SIZE)

    def initial_state(self, slots: int) -> State:
        """Nothing watched."""
        past = torch.zeros(slots, 2 * ROUND, *SIZE, 3)
        counts = torch.zeros(slots, dtype=torch.int64)
        return State([{"ssm": past}], torch.zeros(slots, 1, 1), torch.zeros(slots), counts)

    def noise_shape(self, slots: int) -> tuple[int, int]:
        """One number, which is ignored."""
        return slots, 1

    def observe(self, state: State, frames: Tensor, actions: Tensor) -> tuple[State, None]:
        """Note the frames of one slot."""
        done = int(state.frames[0])
        past = state.layers[0]["ssm"].clone()
        past[0, done : done + frames.shape[1]] = frames[0].float() / 255
        return State(
            [{"ssm": past}], state.latents, state.level, state.frames + len(frames[0])
        ), None

    def imagine(self, state: State, *_: Any, **__: Any) -> tuple[Tensor, None, State]:
        """The frame of a round ago."""
        rows = (state.frames - ROUND).clamp(min=0)
        frames = state.layers[0]["ssm"][torch.arange(state.slots), rows]
        return frames, None, State(state.layers, state.latents, state.level, state.frames + 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    """Four episodes; in every second one the targets lie the other way round."""
    path: Path = tmp_path_factory.mktemp("rooms") / "store"
    return RolloutStore(write_episodes(path, [episode_of(seed % 2 > 0, seed) for seed in range(4)]))


def test_a_return_is_asked_for_from_just_before_it(store: RolloutStore) -> None:
    found = find_returns(view_episode(store, 0, 1, SIZE), 0)
    assert [each.watched for each in found] == [ROUND, ROUND + LOOK]
    assert [each.elapsed for each in found] == [AWAY, AWAY]
    assert [each.steps for each in found] == [1, 1]
    assert all(each.mask.any() for each in found)
    assert find_returns(view_episode(store, 0, 1, SIZE), 0, least=AWAY + 1) == []


def test_a_perfect_memory_names_every_colour_and_none_names_nothing(store: RolloutStore) -> None:
    found = dream_returns(OnceMore(), store, [2])[2]  # type: ignore[arg-type]
    (row,) = json.loads(json.dumps(found.to_json()))
    assert row["ages"] == [101, 200] and row["questions"] == 8 and row["episodes"] == 4
    assert row["chance"] == 0.5 and row["no_colour"] == 0
    assert row["right"]["whole memory"] == {"mean": 1, "low": 1, "high": 1}
    assert row["right"]["without everything"]["mean"] == 0


def test_a_target_that_was_never_in_view_is_never_asked_for(store: RolloutStore) -> None:
    view = view_episode(store, 0, 1, SIZE)
    view.targets[0].seen[:] = False
    assert good_sightings(view.targets[0], SIZE[0] * SIZE[1], 1) == []
    assert {each.target for each in find_returns(view, 0)} == {1}


def test_without_the_places_of_targets_nothing_can_be_asked(tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "store", [episode_of(False, 0, without="targets_pos")])
    with pytest.raises(RolloutError, match="without targets_pos"):
        dream_returns(OnceMore(), RolloutStore(path), [1])  # type: ignore[arg-type]
