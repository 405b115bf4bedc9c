"""From an environment that was never seen to the commands that dream it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from dreamenv.cli import VERBS, main
from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.new_world import speed
from dreamenv.evaluation.new_world.look import CANDIDATES, Look, look_at
from dreamenv.evaluation.new_world.proposal import DYNAMICS_UPDATES, propose
from dreamenv.evaluation.new_world.speed import Speed, speed_of, window_of

COUNTING = "counting_env:FreshCounting-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def look(folder: Path) -> Look:
    found = look_at(COUNTING, {"length": 20}, 100, folder)
    assert found is not None
    return found


def test_a_look_tells_lengths_ends_rewards_and_whether_seeds_repeat(look: Look) -> None:
    told = "\n".join(look.lines())
    assert "of 20 to 20 steps" in told and look.terminated == look.store.num_episodes
    assert look.repeats and "the same seed and actions repeat" in told
    assert look.cut_after == 1000 and "are cut after 1000" in told
    assert "continuous" in told or "categories" in told
    assert set(look.store.policies) <= set(CANDIDATES) and look.store.num_steps >= 300
    assert set(look.store.seeds).isdisjoint(look.held_out.seeds)
    assert sum(look.mixture.values()) == pytest.approx(1) and set(look.mixture) == set(CANDIDATES)


def test_what_will_go_wrong_is_said_with_what_helps(look: Look) -> None:
    wrong = dataclasses.replace(look, moving_share=0.01, repeats=False)
    told = "\n".join(wrong.notes())
    assert "--moving-pixels" in told and "does reset(seed=...) seed everything?" in told


def test_speed_is_measured_by_updates_and_leaves_nothing(
    look: Look, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamenv.training.stages.open_loop_metrics", lambda *_: {})
    monkeypatch.setattr(speed, "TOKENIZER_BATCH", 8)
    before = sorted(folder.iterdir())
    found = speed_of(look, folder, 1, ("debug",))["debug"]
    assert found.tokenizer > 0 and found.dynamics > 0
    assert sorted(folder.iterdir()) == before
    assert window_of(look) == 21


def test_a_proposal_fits_the_time_and_its_commands_can_be_read(look: Look, folder: Path) -> None:
    speeds = {"small": Speed(0.5, 2.0), "tiny": Speed(0.1, 0.2)}
    proposal = propose(look, speeds, folder, 60)
    assert proposal.preset == "tiny", "of small there would be only 1,440 updates"
    assert 45 < proposal.minutes < 61
    assert propose(look, speeds, folder, 600).preset == "small"
    assert propose(look, speeds, folder, 0.1).dynamics_updates == DYNAMICS_UPDATES[0]
    little = dataclasses.replace(look, moving_share=0.01)
    path = propose(little, speeds, folder, 60).write(folder, 0)
    lines = [shlex.split(line) for line in path.read_text().splitlines()[2:]]
    assert [line[1] for line in lines] == ["collect", "collect", "train", "life", "gap"]
    assert all(line[0] == "dreamenv" and line[1] in VERBS for line in lines)
    train = lines[2]
    assert train[train.index("--moving-pixels") + 1] == "20"
    assert train[train.index("--window") + 1] == "21"
    kwargs = lines[0][lines[0].index("--env-kwargs") + 1]
    assert json.loads(kwargs) == {"length": 20}


def test_its_commands_are_options_that_the_verbs_know(look: Look, folder: Path) -> None:
    from importlib import import_module

    from dreamenv.cli.options import parse

    script = propose(look, {"tiny": Speed(0.1, 0.2)}, folder, 10).script(0)
    for line in script.splitlines():
        _, verb, *words = shlex.split(line)
        parse(import_module(f"dreamenv.cli.{verb}").Options, verb, words)


def test_an_environment_without_a_picture_is_told_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RolloutError, match="AddRenderObservation"):
        look_at("CartPole-v1", {}, 100, tmp_path)
    assert main(["new-world", "NoSuchThing-v0", "--out", str(tmp_path / "x")]) == 2
    assert "NoSuchThing" in capsys.readouterr().err
    assert not np.any([*tmp_path.iterdir()])
