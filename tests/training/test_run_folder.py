"""A run's folder: dreamt from its first checkpoint on, and gone on with whoever began it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.core.plain import from_plain
from dreamenv.dream.env import DreamEnv
from dreamenv.training.config import TrainConfig
from dreamenv.training.loop import Stage
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import read_config
from tests.training.conftest import MakeRun


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


def test_a_killed_run_is_dreamt_from_its_first_checkpoint(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    run, update = make_run(checkpoint_every=2), Stage._update

    def dying(self: Stage, batch: Any) -> Any:
        if (self.name, self.step) == ("dynamics", 3):
            raise Killed
        return update(self, batch)

    monkeypatch.setattr(Stage, "_update", dying)
    with pytest.raises(Killed):
        train_world_model(run)
    assert read_config(run.out)[1]["dynamics_updates"] == 2
    env = DreamEnv(run.out)
    frame, _ = env.reset(seed=0)
    assert frame in env.observation_space


def test_changes_to_the_architecture_are_a_mapping(make_run: MakeRun) -> None:
    changes = {"dynamics": {"scan_blocks": ((4, 4), (2, 2)), "width": 16}}
    run = make_run(architecture=changes)
    plain = {"dynamics": {"scan_blocks": [[4, 4], [2, 2]], "width": 16}}
    assert run.architecture == plain
    with pytest.warns(DeprecationWarning, match="architecture is a mapping now, not JSON text"):
        assert make_run(architecture=json.dumps(plain)) == run
    with (
        pytest.warns(DeprecationWarning, match="mapping now"),
        pytest.raises(ConfigError, match="architecture is no JSON"),
    ):
        make_run(architecture="{'dynamics': {}}")
    told = {"data": "a", "held_out": "b", "out": "c", "architecture": plain}
    assert from_plain(TrainConfig, told).architecture == plain


@pytest.mark.parametrize("text", ["", '{"sampler": {"steps": 3}}'])
def test_a_folder_that_an_earlier_version_began_is_gone_on_with(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None, text: str
) -> None:
    """It noted changes to the architecture as JSON text, and stored no spawns before the end."""
    changes = json.loads(text or "{}")

    def stopped(self: Stage, batch: Any) -> Any:
        raise Killed

    run = make_run(architecture=changes)
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "_update", stopped)
        with pytest.raises(Killed):
            train_world_model(run)
    path = Path(run.out) / "train_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"architecture": text}))
    (Path(run.out) / "spawns.npz").unlink()
    with pytest.raises(ConfigError, match="was begun with architecture"):
        train_world_model(make_run(architecture={"sampler": {"steps": 2}}))
    train_world_model(run)
    assert json.loads(path.read_text("utf-8"))["architecture"] == changes
    assert read_config(run.out)[0].sampler.steps == changes.get("sampler", {}).get("steps", 2)
    DreamEnv(run.out).reset(seed=0)
