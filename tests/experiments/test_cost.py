"""Cost curves: what is stored, what a second run measures, what is left out, which slopes come out.

Times are measured here and never judged.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.world_model.model import WorldModel
from experiments import cost
from experiments.cost import MODELS, CostConfig, measure_cost
from experiments.cost_readings import (
    Conditions,
    alone,
    remember,
    step_readings,
    train_reading,
)

QUICK = replace(CostConfig().quick(), rounds=1, lengths=(8, 96))
ARCHITECTURES = QUICK.architectures()


def fake_reading(*arguments: Any) -> Any:
    """In place of `alone`: seconds ∝ frames^1.5, bytes ∝ frames²; every round has its speed."""
    function, *rest = arguments
    if function is cost.yardstick:
        fake_reading.rounds += 1
        return {"float32": 1.0, "bfloat16": 2.0}
    speed = fake_reading.rounds
    if function is cost.train_reading:
        frames = rest[2]
        return {"seconds": [speed * frames**1.5] * 3, "peak_bytes": 10 * frames**2}
    return [
        {"model": name, "frames": frames, "seconds": [speed * 0.1], "state_bytes": 10 * frames}
        for frames in rest[1]
        for name in MODELS
    ]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_reading.rounds = 0
    monkeypatch.setattr(cost, "alone", fake_reading)


FAKED = CostConfig(
    base=QUICK.base,
    lengths=(8, 16, 32),
    lengths_from=16,
    indices=(10, 100, 1000),
    rounds=2,
    most_seconds=1e9,
)


def of(result: dict[str, Any], kind: str, model: str) -> list[dict[str, Any]]:
    return [reading for reading in result[kind] if reading["model"] == model]


def test_a_real_measurement_holds_every_reading(tmp_path: Path) -> None:
    lines: list[str] = []
    result = measure_cost(QUICK, tmp_path / "cost.json", "the command", lines.append)
    assert json.loads((tmp_path / "cost.json").read_text()) == result
    assert result["command"] == "the command"
    sizes = [model["parameters"] for model in result["models"].values()]
    assert max(sizes) < 1.05 * min(sizes) and result["models"]["ours"]["tokens"] == 4
    (yardstick,) = result["matmul_gflops"]
    assert min(yardstick["float32"], yardstick["bfloat16"]) > 0
    assert len(lines) == 1 + len(MODELS) * (2 + 2)
    for name in MODELS:
        training, stepping = of(result, "training", name), of(result, "stepping", name)
        assert [r["frames"] for r in training] == [8, 96]
        assert [r["frames"] for r in stepping] == [4, 8]
        assert all(len(r["seconds"]) == 1 and min(r["seconds"]) > 0 for r in training + stepping)
        assert training[1]["peak_bytes"] > training[0]["peak_bytes"] + 2**20
        before, after = (r["state_bytes"] for r in stepping)
        # Keys and values of 4 frames of 4 tokens, 32 floats each.
        assert after - before == (2 * 4 * 4 * 32 * 2 if name == "causal_full" else 0)


def test_medians_and_exponents_of_known_readings(tmp_path: Path, faked: None) -> None:
    """Slow rounds move no exponent; points below the fitted range do not count."""
    result = measure_cost(FAKED, tmp_path / "cost.json", "", lambda _: None)
    fits = result["exponents"]["ours"]
    expected = {"training_seconds": 1.5, "peak_bytes": 2, "step_seconds": 0, "state_bytes": 1}
    for curve, exponent in expected.items():
        fit = fits[curve]
        assert [fit["mean"], fit["low"], fit["high"]] == pytest.approx([exponent] * 3, abs=1e-9)
        bounds = [16, 32] if curve in ("training_seconds", "peak_bytes") else [100, 1000]
        assert [fit["from"], fit["to"]] == bounds
    training = result["medians"]["causal_full"]["training"]
    assert [point["frames"] for point in training] == [8, 16, 32]
    assert training[1]["seconds"] == pytest.approx(1.5 * 16**1.5)  # rounds of speed 1 and 2


def test_an_interrupted_measurement_goes_on(tmp_path: Path, faked: None) -> None:
    path = tmp_path / "cost.json"
    whole = measure_cost(FAKED, path, "", lambda _: None)
    lost = json.loads(path.read_text())
    dropped = [lost["training"].pop(i) for i in (16, 5)]
    lost["stepping"] = [r for r in lost["stepping"] if r["round"] != 1]
    del lost["medians"], lost["exponents"]
    path.write_text(json.dumps(lost))
    lines: list[str] = []
    again = measure_cost(FAKED, path, "", lines.append)
    assert len(lines) == 2 + len(MODELS) * len(FAKED.indices)

    def keys(result: dict[str, Any], kind: str) -> list[tuple]:
        return sorted((r["round"], r["model"], r["frames"]) for r in result[kind])

    for kind in ("training", "stepping"):
        assert keys(again, kind) == keys(whole, kind)
    for reading in dropped:
        line = f"round {reading['round'] + 1} training, {reading['model']}, {reading['frames']} "
        assert any(found.startswith(line) for found in lines)
    lines.clear()
    assert measure_cost(FAKED, path, "", lines.append) == again and lines == []


def test_a_file_of_something_else_is_refused(tmp_path: Path, faked: None) -> None:
    path = tmp_path / "cost.json"
    measure_cost(FAKED, path, "", lambda _: None)
    before = path.read_text()
    with pytest.raises(ConfigError, match="other settings; delete it or name another file"):
        measure_cost(replace(FAKED, window=5), path, "")
    elsewhere = json.loads(before)
    elsewhere["machine"]["processor"] = "abacus"
    for text, error, message in (
        (json.dumps(elsewhere), ConfigError, "other machine"),
        (before[:100], CheckpointError, "damaged"),
        ("[]", CheckpointError, "damaged"),
        ("{}", CheckpointError, "damaged"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=message):
            measure_cost(FAKED, path, "")
        assert path.read_text() == text


def test_lengths_that_might_take_too_long_are_left_out(tmp_path: Path, faked: None) -> None:
    """By the square of the longest length so far: 8^1.5 · 4 s are allowed, 16^1.5 · 4 s are not."""
    config = replace(FAKED, most_seconds=100, lengths_from=8)
    result = measure_cost(config, tmp_path / "cost.json", "", lambda _: None)
    readings = of(result, "training", "ours")
    why = [r.get("left_out") for r in readings]
    assert why == [None, None, "might take 256 s an iteration"] * 2
    assert [m["frames"] for m in result["medians"]["ours"]["training"]] == [8, 16]
    assert result["exponents"]["ours"]["training_seconds"]["to"] == 16


def test_one_point_has_no_slope(tmp_path: Path, faked: None) -> None:
    config = replace(FAKED, lengths_from=32, rounds=1)
    result = measure_cost(config, tmp_path / "cost.json", "", lambda _: None)
    assert result["exponents"]["ours"]["training_seconds"] is None
    assert result["exponents"]["ours"]["state_bytes"]["low"] is None  # of one round, no interval


def test_what_does_not_fit_into_memory_is_left_out() -> None:
    most = Conditions(most_bytes=2**29)
    reading = alone(
        train_reading, ARCHITECTURES["causal_full"], QUICK.objective, 1024, 1, 0.0, most
    )
    assert reading == {"left_out": "needs more memory than there is"}


def test_iterations_stop_when_they_have_taken_long_enough() -> None:
    ours = ARCHITECTURES["ours"]
    counts = [
        len(alone(train_reading, ours, QUICK.objective, 4, 3, seconds, Conditions())["seconds"])
        for seconds in (0.0, 1e9)
    ]
    assert counts == [1, 3]


@pytest.mark.parametrize("name", MODELS)
def test_a_filled_memory_is_one_that_has_seen_so_many_frames(name: str) -> None:
    model = WorldModel(ARCHITECTURES[name])
    state = remember(model, model.initial_state(1), 3)
    for frames in (3, 300, 301):  # 300 takes more than one piece
        state = remember(model, state, frames)
        assert state.frames.tolist() == [frames]
        expected = model.initial_state(1).nbytes
        if name == "causal_full":
            expected += frames * 2 * 4 * 32 * 4  # keys and values, 4 tokens of 32 floats
        assert state.nbytes == expected
    frame, _, after = model.imagine(
        state, torch.zeros(1, dtype=torch.int64), torch.randn(model.noise_shape(1))
    )
    assert frame.isfinite().all() and after.frames.tolist() == [302]


def test_steps_are_readings_of_every_model_and_index() -> None:
    before = torch.get_num_threads()
    readings = step_readings(ARCHITECTURES, (2, 5), 2, Conditions(dtype="bfloat16"))
    torch.set_num_threads(before)
    assert [(r["frames"], r["model"]) for r in readings] == [
        (frames, name) for frames in (2, 5) for name in MODELS
    ]
    assert {len(r["seconds"]) for r in readings} == {2}
    assert np.min([r["seconds"] for r in readings]) > 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: CostConfig(lengths=(64, 32)), "lengths must ascend"),
        (lambda: CostConfig(lengths=()), "lengths must ascend"),
        (lambda: CostConfig(indices=(1, 10)), "indices must ascend from 2"),
        (lambda: CostConfig(rounds=0), "at least 1"),
        (lambda: Conditions(dtype="float16"), "float32 or bfloat16, not 'float16'"),
        (lambda: Conditions(threads=0), "threads ≥ 1"),
    ],
)
def test_impossible_settings(bad: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bad()
