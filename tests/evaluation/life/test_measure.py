"""The whole measurement on the ring: a perfect dream pays what the ring pays; it can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamenv.cli import main
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream import vector_env
from dreamenv.evaluation.life import measure
from dreamenv.evaluation.life.config import LifeConfig
from dreamenv.evaluation.life.lives import Film
from dreamenv.evaluation.life.measure import measure_life
from dreamenv.evaluation.life.strips import GAP, HEADER, LABELS, SCALE, life_strip
from dreamenv.world_model.config import ActionConfig
from tests.evaluation.life.rings import ROUND, ring_spawns
from tests.evaluation.ring_env import RingOracle, add_walkers, dream_of_the_ring, frame_of

WALKER = "walker:11"


def config(rollouts: Path, **changes: Any) -> LifeConfig:
    arguments = {
        "clips": 3, "context": 6, "horizon": 40, "revisits": 0, "places": 3, "episodes": 3,
        "agents": (WALKER,), "latest_start": 20, "progress": False,
    }  # fmt: skip
    return LifeConfig("bundled:ring", rollouts, **arguments | changes)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An exact dream of the ring, walkers, and a turn that leads back."""
    add_walkers(monkeypatch)
    dream_as(monkeypatch)
    monkeypatch.setattr(measure, "turns_of", lambda env_id, lengths: [ROUND])
    return monkeypatch


def dream_as(monkeypatch: pytest.MonkeyPatch, pays: tuple[int, ...] = (0,)) -> None:
    """Let dreams pay at these places."""
    dream_of_the_ring(monkeypatch, ring_spawns((0,)), pays)
    monkeypatch.setattr(measure, "load_for_dreaming", lambda *_: vector_env.load_for_dreaming(""))


def test_a_perfect_dream_keeps_its_world_and_pays_what_the_real_one_pays(
    ring: pytest.MonkeyPatch, ring_rollouts: Path
) -> None:
    report = measure_life(config(ring_rollouts))
    result = json.loads(json.dumps(report.result))
    (found,) = result["by_denoising_passes"].values()
    (turn,) = found["turns"]
    assert turn["dream"]["mean"] == turn["real"]["mean"] == pytest.approx(100)
    (agent,) = found["closed_loop"]
    assert agent["agent"] == WALKER and agent["dream"] == agent["real"]
    assert agent["dream"]["mean"] > 0
    assert agent["ratio"] == {"mean": 1, "low": 1, "high": 1}
    seen = result["rewards_on_real_frames"]
    assert seen["precision"]["mean"] == seen["recall"]["mean"] == 1 and seen["events"] > 0
    assert result["protocol"]["horizon"] == 40 and result["data"]["env_id"] == "Ring-v0"
    rows = report.rows()
    assert {len(row) for row in rows} == {2}
    assert any("dream / real" in row[0] and row[1].startswith("1.00") for row in rows)


def test_the_real_environment_is_made_with_its_arguments(
    ring: pytest.MonkeyPatch, ring_rollouts: Path
) -> None:
    with pytest.raises(ConfigError, match="does not take the arguments {'colour': 'red'}"):
        measure_life(config(ring_rollouts, real_kwargs={"colour": "red"}, clips=1, horizon=8))


def test_a_dream_that_pays_twice_is_found_out(
    ring: pytest.MonkeyPatch, ring_rollouts: Path
) -> None:
    dream_as(ring, pays=(0, 8))
    result = measure_life(config(ring_rollouts)).result
    (found,) = result["by_denoising_passes"].values()
    assert 1.5 < found["closed_loop"][0]["ratio"]["mean"] < 2.5
    assert result["rewards_on_real_frames"]["precision"]["mean"] < 0.8
    expected, real = (
        sum(row["reward"][name]["mean"] for row in found["by_steps"])
        for name in ("expected", "real")
    )
    assert expected > 1.2 * real


def test_a_measurement_that_was_killed_goes_on_and_is_the_same(
    ring: pytest.MonkeyPatch, ring_rollouts: Path, tmp_path: Path
) -> None:
    ours = config(ring_rollouts, real=False, horizon=16)
    expected = measure_life(ours, tmp_path / "whole")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with ring.context() as killed:
        killed.setattr(measure, "play_agents", die)
        with pytest.raises(KeyboardInterrupt):
            measure_life(ours, tmp_path / "killed")
    with ring.context() as idle:
        idle.setattr(measure, "watch_lives", die)  # not again
        again = measure_life(ours, tmp_path / "killed")
    assert again.result == expected.result
    for name, film in expected.films.items():
        np.testing.assert_array_equal(again.films[name].dreamt, film.dreamt)
    (kept,) = (tmp_path / "killed").glob("lives-*.json")
    kept.write_text('{"by_')
    assert measure_life(ours, tmp_path / "killed").result == expected.result


def test_what_decides_a_part_makes_another_of_it(
    ring: pytest.MonkeyPatch, ring_rollouts: Path, tmp_path: Path
) -> None:
    ours = {"real": False, "agents": (), "horizon": 8}
    measure_life(config(ring_rollouts, **ours), tmp_path)
    count = len(list(tmp_path.iterdir()))
    measure_life(config(ring_rollouts, **ours, progress=False), tmp_path)
    assert len(list(tmp_path.iterdir())) == count
    measure_life(config(ring_rollouts, **ours, seed=1), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * count


def test_the_command_writes_numbers_and_pictures(
    ring: pytest.MonkeyPatch, ring_rollouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["--checkpoint", "bundled:ring", "--rollouts", str(ring_rollouts), "--clips", "2",
             "--context", "6", "--horizon", "20", "--revisits", "2", "--episodes", "0",
             "--places", "2", "--no-real", "--no-progress",
             "--denoising-steps", "2", "1"]  # fmt: skip
    assert main(["life", *given, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "K = 1" in said and "sharpness" in said
    written = json.loads((tmp_path / "life.json").read_text())
    assert list(written["by_denoising_passes"]) == ["1", "2"]
    # The ring's rollouts have no poses.
    assert "missing" in written["by_denoising_passes"]["1"]["revisits"]
    assert Image.open(tmp_path / "life.png").size[0] > 200
    assert main(["life", *given[:2], "--rollouts", "nowhere", "--out", str(tmp_path)]) == 2
    assert "no rollout store" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"clips": 0}, {"horizon": 0}, {"turns": (0,)}, {"denoising_steps": (-1,)}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config(Path("x"), **wrong)


def test_rollouts_of_other_actions_are_refused(
    ring: pytest.MonkeyPatch, ring_rollouts: Path
) -> None:
    model = vector_env.load_for_dreaming("").model
    assert isinstance(model, RingOracle)
    ring.setattr(model, "config", replace(model.config, actions=ActionConfig(n=5)), raising=False)
    with pytest.raises(RolloutError, match="actions"):
        measure_life(config(ring_rollouts))


def test_a_strip_shows_the_same_steps_of_every_sampler_below_the_real_ones() -> None:
    real, one, two = (np.stack([[frame_of(place + k, 1) for k in range(3)]]) for place in (1, 5, 9))
    films = {"K = 1": Film((1, 4, 8), real, one), "K = 2": Film((1, 4, 8), real, two)}
    picture = life_strip(films)
    for row, frames in enumerate((real, one, two)):
        for column in range(3):
            top, left = HEADER + row * (16 + GAP), LABELS + column * (16 + GAP)
            shown = picture[top * SCALE : (top + 16) * SCALE : SCALE]
            shown = shown[:, left * SCALE : (left + 16) * SCALE : SCALE]
            np.testing.assert_array_equal(shown, frames[0, column])
