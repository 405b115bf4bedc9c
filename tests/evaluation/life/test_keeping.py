"""Turns and revisits: a world that is kept comes back, and what keeps it is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.evaluation.life.revisits import dream_revisits
from dreamenv.evaluation.life.turns import (
    REST,
    dream_turns,
    others,
    turns_of,
    turns_to_json,
)
from dreamenv.evaluation.memory.revisit import RETURNED, REVISITED, revisit, sightings
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.state import State
from tests.evaluation.life.rings import ROUND, FadingRing, RememberingRing, ring_spawns
from tests.evaluation.memory.corridor import episode_of, write_walks
from tests.evaluation.ring_env import PLACES

PASSES = 3


def test_turns_are_those_that_the_family_names() -> None:
    (turn,) = turns_of("MemoryMaze-9x9-v0", (3,))
    assert turn.actions.tolist() == [0] * REST + [2] * 3 + [0] * REST + [3] * 3 + [0] * REST
    assert turn.actions[turn.first] == 0 and turn.actions[turn.first + 1] == 2
    assert turn.actions[turn.away] == 0 and turn.actions[turn.away + 1] == 3
    assert turns_of("Ring-v0") == []


def test_a_dream_that_keeps_its_world_comes_back_to_the_same_frame() -> None:
    spawns = ring_spawns((2, 7, 12))
    dreamt = dream_turns(RememberingRing(), spawns, [ROUND])  # type: ignore[arg-type]
    real = {16: np.array([40.0, 41.0, 42.0])}
    (row,) = json.loads(json.dumps(turns_to_json(dreamt, real, np.arange(3))))
    assert row["steps"] == 16
    assert row["dream"] == pytest.approx({"mean": 100, "low": 100, "high": 100})
    assert row["real"]["mean"] == 41
    assert row["chance"]["mean"] < 20
    assert row["lost_db"]["attention"]["mean"] == 0
    assert row["lost_db"]["state space"]["low"] > 20
    assert row["lost_db"]["everything"]["low"] > 20


def test_a_dream_that_fades_meanwhile_does_not() -> None:
    dreamt = dream_turns(FadingRing(), ring_spawns((2, 7)), [ROUND])  # type: ignore[arg-type]
    (row,) = turns_to_json(dreamt, {}, np.arange(2))
    assert row["dream"]["mean"] < 15 and row["real"] is None


def test_chance_is_of_another_episode() -> None:
    assert others(np.array([0, 0, 1, 2])).tolist() == [2, 2, 3, 0]  # type: ignore[union-attr]
    assert others(np.array([3, 3])) is None


class SeenPlaces(RememberingRing):
    """Knows where its actions lead, and shows only places whose look its memory holds."""

    def observe(self, state: State, *rest: Any) -> tuple[State, Outcome]:
        """Note all places that were seen, as marks behind the place."""
        now, outcome = super().observe(state, *rest)
        places = rest[0][:, :, 0, :, 0].argmax(-1)
        marks = state.layers[0]["ssm"][:, 1:]
        if not marks.shape[1]:
            marks = torch.zeros(len(places), PLACES)
        marks = marks.scatter(1, places, 1.0)
        now.layers[0]["ssm"] = torch.cat([now.layers[0]["ssm"], marks], 1)
        return now, outcome

    def imagine(
        self, state: State, action: Tensor, *rest: Any, **named: Any
    ) -> tuple[Tensor, Outcome, State]:
        """Grey where it was never watched."""
        marks = state.layers[0]["ssm"][:, 1:]
        frames, outcome, now = super().imagine(state, action, *rest, **named)
        places = now.layers[0]["ssm"][:, :1]
        now.layers[0]["ssm"] = torch.cat([places, marks], 1)
        if marks.shape[1]:
            known = marks.gather(1, places.long()).view(-1, 1, 1, 1) > 0
            frames = torch.where(known, frames, torch.full_like(frames, 0.5))
        return frames, outcome, now


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> MemoryTask:
    """Walkers that go round, so that each place comes back after 16 steps."""
    episodes = [episode_of([1] * 60, start=3 * seed, seed=seed) for seed in range(3)]
    path: Path = write_walks(tmp_path_factory.mktemp("round") / "store", episodes)
    return revisit(RolloutStore(path), (PLACES, PLACES), clips=6, context=20, horizon=8, min_age=9)


def test_places_watched_long_ago_are_shown_from_memory_alone(task: MemoryTask) -> None:
    found = dream_revisits(SeenPlaces(), task, [None, PASSES])  # type: ignore[arg-type]
    assert list(found) == [None, PASSES]
    (row,) = found[PASSES].to_json(ages=((9, 24), (25, 99)))
    assert row["ages"] == [9, 24] and row["clips"] == 6
    assert row["frames"] == task.groups[RETURNED].sum() > 0
    assert row["dream"]["mean"] == pytest.approx(100)
    assert row["chance"]["mean"] < 20
    assert row["lost_db"]["attention"]["mean"] == 0
    assert row["lost_db"]["state space"]["mean"] > 20


def test_a_place_that_was_nearly_seen_since_is_not_returned_to() -> None:
    def pose(degrees: float) -> list[float]:
        angle = np.radians(degrees)
        return [1.0, 1.0, float(np.cos(angle)), float(np.sin(angle))]

    # The same view 5 frames ago, and meanwhile only the opposite one, or one beside it.
    away, beside = ([0.0, *[angle] * 4, 0.0] for angle in (180.0, 30.0))
    poses = np.array([[pose(d) for d in way] for way in (away, beside)], np.float32)
    seen = sightings(poses, context=5, min_age=4)
    assert seen.revisited.tolist() == [[True], [True]]
    assert seen.returned.tolist() == [[True], [False]]
    assert REVISITED != RETURNED
