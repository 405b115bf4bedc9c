"""What cannot be compared is refused, with a reason, before anything is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dreamenv.cli import main
from dreamenv.core.errors import (
    CheckpointError,
    ConfigError,
)
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap.measure import measure_gap
from tests.evaluation.gap.ring_reports import config, gap
from tests.evaluation.ring_env import (
    dream_of_the_ring,
)


def test_a_life_that_was_not_measured_is_refused_before_anything_is_played(
    ring: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="dreamenv life"):
        measure_gap(config(life=tmp_path), tmp_path / "episodes")
    assert not (tmp_path / "episodes").exists()


def test_mistyped_options_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gap", "--agents", "random", "--real", "Ring-v0", "--out", str(tmp_path / "out")]
    for kwargs in ("{checkpoint: x}", "[1]"):
        with pytest.raises(SystemExit):
            main([*command, "--dream-kwargs", kwargs])
    errors = capsys.readouterr().err
    assert "no JSON" in errors and "must be a JSON object" in errors
    (tmp_path / "out").write_text("")
    assert main(command) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command[:-1], str(tmp_path / "new"), "--transfer", "runs/a"])
    assert "Value error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real": "Rign-v0"}, "unknown environment id 'Rign-v0'; did you mean .*Ring-v0"),
        ({"dream": "DreamEnv-MemoryMaz-v0"}, "did you mean DreamEnv-MemoryMaze-v0"),
        ({"real": "no_such_module:Ring-v0"}, "cannot import 'no_such_module'"),
        ({"dream": "Ring-v0"}, "Ring-v0 is not a dreamt environment"),
        ({"real_kwargs": {"actions": 5}}, r"Discrete\(5\).*the dream from\s+Discrete\(3\)"),
        ({"real_kwargs": {"colour": "red"}}, "does not take the arguments"),
        ({"dream_kwargs": {"checkpoint": "bundled:ring", "depth": 3}}, "does not take"),
        ({"dream_kwargs": {"horizon": 9}}, "leave 'horizon' out"),
        ({"dream_kwargs": {"min_trust": 0.5}}, "leave 'min_trust' out"),
        ({"real": "ShortRing-v0"}, "ends its episodes after 20 steps.*--latest-start"),
        ({"real_kwargs": {"nan_at": 34}}, "no number"),
        ({"latest_start": -1}, "latest_start must be a whole number of at least 0, not -1"),
        ({"near_rewards": 0.5}, "give --rollouts"),
        ({"agents": ()}, "at least one agent"),
        ({"spawns": 0}, "spawns must be at least 1"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"clips": -1}, "clips must be at least 0"),
        ({"clip_horizon": 35}, "clips of 35 imagined frames.*only 34 steps"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"real_horizon": 0}, "real horizon must be at least 1"),
    ],
)
def test_mistakes_are_explained(
    ring: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        gap(**changes)


def test_spawns_of_earlier_versions_are_refused(ring: pytest.MonkeyPatch, spawns: Spawns) -> None:
    old = [{"seed": s["seed"], "start": s["start"]} for s in spawns.sources]
    dream_of_the_ring(ring, Spawns(spawns.frames, spawns.actions, old))
    with pytest.raises(ConfigError, match="stored by an earlier version.*--rollouts"):
        gap()


def test_missing_agents_are_named(ring: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="no agent at"):
        gap(population=("runs/absent.zip",))
