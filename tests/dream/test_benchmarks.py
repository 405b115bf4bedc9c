"""The benchmarks of the dream run, at a small size, and notice what they are there to notice."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, out: Path) -> dict:
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *arguments, "--out", str(out)])
    load(name).main()
    return json.loads(out.read_text())


def test_adapter_speed(
    debug_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ["--slots", "2", "--steps", "6", "--horizon", "4", "--rounds", "2"]
    arguments = ["--checkpoint", str(debug_checkpoint), *size]
    result = run("adapter_speed", arguments, monkeypatch, tmp_path / "result.json")
    for observation in ("frame", "memory"):
        measured = result[observation]
        rates = measured["frames_per_second"]
        assert set(rates) == {"dream", "vec_env", "dream_and_policy", "collect_rollouts"}
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in rates.values())
        ratios = np.divide(rates["vec_env"], rates["dream"])
        assert measured["overhead"]["adapter"] == pytest.approx(1 - np.median(ratios), abs=0.02)


def test_endurance(debug_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = ["--slots", "4", "--frames", "150", "--horizon", "5", "--checkpoints", "5"]
    arguments = ["--checkpoint", str(debug_checkpoint), *size]
    result = run("endurance", arguments, monkeypatch, tmp_path / "result.json")
    noted = result["checkpoints"]
    assert [n["frames"] for n in noted] == [32, 60, 92, 120, 152]
    assert result["episodes"] == 4 * (38 // 5)
    assert len({n["state_bytes"] for n in noted}) == 1 and result["state_ratio"] == 1
    assert all(n["step_ms"]["p99"] >= n["step_ms"]["median"] > 0 for n in noted)


def good_step(rng: np.random.Generator) -> list[Any]:
    frames = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    ends = np.array([False, True])
    observations = {"frame": frames, "memory": np.zeros((2, 3))}
    return [observations, np.zeros(2), ends, ~ends, {"uncertainty": np.zeros(2)}]


def test_what_breaks_is_noticed(rng: np.random.Generator) -> None:
    check = load("endurance").Checks()
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
    def noted(resident: float, latency: float, matmul: float) -> dict[str, Any]:
        step_ms = {"median": latency, "p99": latency}
        mark = {"resident_mib": resident, "state_bytes": 10, "step_ms": step_ms}
        return {**mark, "matmul_gflops": matmul}

    warm_up, early, late = noted(50, 90, 1), noted(100, 10, 200), noted(110, 20, 100)
    assert load("endurance").flatness([warm_up, early, early, *[late] * 7]) == {
        "resident_ratio": pytest.approx(1.1),
        "state_ratio": 1,
        "latency_ratio": 2,
        "latency_ratio_by_yardstick": 1,
    }
