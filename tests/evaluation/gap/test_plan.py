"""A configuration is resolved at once: mistakes are told before anything is played."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import dreamenv.evaluation.gap
from dreamenv.core.errors import CheckpointError, ConfigError, RolloutError
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap import GapConfig, measure_gap, paired_episodes, plan
from dreamenv.evaluation.gap.starts import GapSpawns
from dreamenv.evaluation.gap.transfer import Contender
from dreamenv.rollouts.store import RolloutStore
from tests.evaluation.ring_env import PLACES, SavingRingEnv, dream_of_the_ring

ROOM = Path(dreamenv.evaluation.gap.__file__).parent
CONTENDER = (Contender("x", "sticky:0.5"),)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch, ring_rollouts: Path) -> Spawns:
    """Spawns of a dream that is exact; who plays anything fails."""
    spawns = draw_spawns(RolloutStore(ring_rollouts), 3, 6, (PLACES, PLACES), latest_start=30)
    dream_of_the_ring(monkeypatch, spawns)

    def played(*_: Any, **__: Any) -> None:
        raise AssertionError("something was played")

    monkeypatch.setattr(paired_episodes, "play_dream", played)
    monkeypatch.setattr(paired_episodes.RealPlayer, "visit", played)
    return spawns


def config(**changes: Any) -> GapConfig:
    values: dict[str, Any] = {"agents": ("random",), "real": "SavingRing-v0", "spawns": 3}
    values |= {"dream": "DreamEnv-v0", "dream_kwargs": {"checkpoint": "bundled:ring"}}
    return GapConfig(**{**values, "horizon": 20, "clip_horizon": 16, "progress": False, **changes})


def test_a_plan_holds_what_the_configuration_names(ring: Spawns) -> None:
    SavingRingEnv.resets = 0
    made = plan.plan_gap(
        config(population=("forward:0.9",), transfer=CONTENDER, real_horizon=9, seed=4)
    )
    assert [agent.label for agent in made.agents] == ["random", "forward:0.9"]
    assert [agent.in_full for agent in made.agents] == [True, False]
    assert len(made.spawns) == 3 and made.dreams.of("frame").num_envs == 3
    assert made.world.spec.id == "SavingRing-v0" and made.world.horizon == 20
    assert made.pairing.seed == 4 and made.pairing.frames == 16 and made.pairing.replay
    assert made.full is not None
    assert [agent.spec for agent in made.full.agents] == ["sticky:0.5", "random"]
    (venue,) = made.full.venues
    assert venue.world is made.world and venue.steps == 9
    assert SavingRingEnv.resets == 0, "nothing is played"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"transfer": CONTENDER}, ConfigError, "no limit of its own: give --real-horizon"),
        ({"transfer": CONTENDER, "transfer_real": ("Rign-v0",)}, ConfigError, "unknown env"),
        ({"transfer": (Contender("x", "runs/none"),)}, CheckpointError, "no agent at"),
        ({"population": ("runs/none",)}, CheckpointError, "no agent at"),
        ({"rollouts": "ring", "horizon": 99, "clip_horizon": 99}, RolloutError, "has 105 frames"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_played(
    ring: Spawns,
    ring_rollouts: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    if "rollouts" in changes:
        changes = {**changes, "rollouts": ring_rollouts}
        monkeypatch.setattr(plan, "choose_spawns", lambda *_: GapSpawns(ring, {}))
    with pytest.raises(error, match=message):
        measure_gap(config(**changes))


def test_below_the_plan_nobody_knows_the_configuration() -> None:
    knowing = {
        path.stem
        for path in ROOM.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "dreamenv.evaluation.gap.config"
    }
    assert knowing == {"__init__", "plan", "measure"}
