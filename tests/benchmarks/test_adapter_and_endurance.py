"""The adapter's and the endurance benchmark run, and notice what they are there to notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.endurance
from benchmarks.endurance import Checks, Endurance, flatness
from dreamenv.core.errors import CheckpointError, ConfigError


def test_adapter_speed(adapter_speed: dict[str, Any]) -> None:
    result = adapter_speed
    assert result["command"].startswith("python -m benchmarks.adapter_speed --checkpoint")
    for observation in ("frame", "memory"):
        measured = result[observation]
        rates = measured["frames_per_second"]
        assert set(rates) == {"dream", "vec_env", "dream_and_policy", "collect_rollouts"}
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in rates.values())
        ratios = np.divide(rates["vec_env"], rates["dream"])
        assert measured["overhead"]["adapter"] == pytest.approx(1 - np.median(ratios), abs=0.02)
        assert measured["matmul_gflops"]["float32"] > 0


@pytest.fixture
def ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dreams are compared at ages that tests reach."""
    monkeypatch.setattr(benchmarks.endurance, "AGES", (4, 30))


SETTINGS = {"frames": 150, "slots": 4, "horizon": 5, "checkpoints": 5}


def test_endurance(endurance: dict[str, Any]) -> None:
    result = endurance
    noted = result["checkpoints"]
    assert [n["frames"] for n in noted] == [32, 60, 92, 120, 152] and result["frames"] == 152
    assert result["episodes"] == 2 * (38 // 5)
    assert result["episodes_of_ageless_dreams_that_ended"] == 0
    assert len({n["state_bytes"] for n in noted}) == 1 and result["state_ratio"] == 1
    for kind in ("step_ms", "young_step_ms"):
        assert all(n[kind]["p99"] >= n[kind]["median"] > 0 for n in noted)
    ages = result["over_time"]["ages"]
    assert [(row["frames"], row["young_frames"], row["pairs"]) for row in ages] == [
        (4, 2, 2), (30, 2, 15), (38, 2, 19),
    ]  # fmt: skip
    assert all(row["state_bytes"] == row["young_state_bytes"] for row in ages)
    assert all(row["ratio"] > 0 for row in ages)


@pytest.mark.usefixtures("ages")
def test_endurance_goes_on_where_it_was_killed(
    debug_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"checkpoint": str(debug_checkpoint), **SETTINGS}
    whole = Endurance(tmp_path / "whole", settings)
    expected = whole.run()

    killed, calls = Endurance(tmp_path / "killed", settings), 0
    once = killed.old.step

    def stop_in_step_20() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        once()

    monkeypatch.setattr(killed.old, "step", stop_in_step_20)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    resumed = Endurance(tmp_path / "killed", settings)
    assert resumed.step == 15, "the last checkpoint before step 20"
    result = resumed.run()
    counted = ("frames", "episodes", "least_contrast", "state_ratio")
    assert {name: result[name] for name in counted} == {name: expected[name] for name in counted}
    assert [n["process"] for n in result["checkpoints"]] == [0, 0, 1, 1, 1]
    assert [row["frames"] for row in result["over_time"]["ages"]] == [4, 30, 38]
    for one, other in ((whole.old, resumed.old), (whole.young, resumed.young)):
        np.testing.assert_array_equal(
            one.env.get_state().memory.latents, other.env.get_state().memory.latents
        )
    kept = sorted(path.name for path in (tmp_path / "killed").iterdir())
    assert kept == ["ageless.38.dream", "episodes.38.dream", "progress.json"]


def test_endurance_refuses_what_it_cannot_go_on_from(
    debug_checkpoint: Path, tmp_path: Path
) -> None:
    settings = {"checkpoint": str(debug_checkpoint), **SETTINGS}
    with pytest.raises(ConfigError, match="3 cannot be halved"):
        Endurance(tmp_path, settings | {"slots": 3})
    small = settings | {"frames": 8, "checkpoints": 1}
    Endurance(tmp_path, small).run()
    longer = Endurance(tmp_path, small | {"frames": 16})
    assert (longer.step, longer.run()["frames"]) == (2, 16)
    with pytest.raises(ConfigError, match="choose another --run"):
        Endurance(tmp_path, small | {"horizon": 7})
    (tmp_path / "progress.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        Endurance(tmp_path, small)


def good_step(rng: np.random.Generator) -> list[Any]:
    frames = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    ends = np.array([False, True])
    observations = {"frame": frames, "memory": np.zeros((2, 3))}
    return [observations, np.zeros(2), ends, ~ends, {"uncertainty": np.zeros(2)}]


def test_what_breaks_is_noticed(rng: np.random.Generator) -> None:
    check = Checks()
    check(good_step(rng))
    assert check.episodes == 2 and check.still == 0
    again = good_step(rng)
    check(again)
    check(again)
    assert check.still == 2
    for harm, message in (
        (lambda step: step[0]["memory"].__setitem__((1, 2), np.nan), "a feature is not finite"),
        (lambda step: step[1].__setitem__(0, np.inf), "a reward is not finite in step"),
        (lambda step: step[4]["uncertainty"].fill(np.nan), "an? uncertainty is not finite"),
        (lambda step: step[0]["frame"][1].fill(90), "has contrast 0.00"),
    ):
        step = good_step(rng)
        harm(step)
        with pytest.raises(RuntimeError, match=message):
            check(step)


def test_flatness_compares_late_with_early() -> None:
    def noted(resident: float, latency: float, matmul: float, process: int = 0) -> dict[str, Any]:
        step_ms = {"median": latency, "p99": latency}
        mark = {"resident_mib": resident, "state_bytes": 10, "step_ms": step_ms}
        return {**mark, "matmul_gflops": matmul, "process": process}

    warm_up, early, late = noted(50, 90, 1), noted(100, 10, 200), noted(110, 20, 100)
    ratios = {"state_ratio": 1, "latency_ratio": 2, "latency_ratio_by_yardstick": 1}
    assert flatness([warm_up, early, early, *[late] * 7]) == {
        "resident_ratio": pytest.approx(1.1), **ratios,
    }  # fmt: skip
    # Memory of another process says nothing about this one's.
    resumed = [noted(30, 20, 100, process=1), noted(60, 20, 100, 1), *[noted(66, 20, 100, 1)] * 5]
    assert flatness([warm_up, early, early, *resumed]) == {
        "resident_ratio": pytest.approx(1.1), **ratios,
    }  # fmt: skip
