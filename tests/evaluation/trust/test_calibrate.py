"""Calibrating trust: isotonic regression, real errors beside what signals said, the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.cli import main
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream.trust import Trust
from dreamenv.evaluation.metrics.open_loop import Clips
from dreamenv.evaluation.trust.calibrate import (
    AGE,
    ENCODED,
    NOW,
    SECOND,
    TOTAL,
    WORST,
    Readings,
    calibrate,
    calibrate_checkpoint,
    fit_curve,
    read_dreams,
)
from dreamenv.evaluation.trust.comparison import (
    auc,
    calibration_bins,
    compare,
    drift,
    surely_wrong,
    truncated,
)
from dreamenv.world_model.model import WorldModel

SIDE = 4


def test_neighbours_in_the_wrong_order_share_a_knot() -> None:
    signal = np.repeat([1.0, 2.0, 4.0, 3.0], 100)
    error = np.repeat([0.01, 0.03, 0.02, 0.02], 100)
    knots, explained = fit_curve(signal, error, np.full(400, 0.04))
    # Behind the first quarter the error falls again: those frames pass for equally wrong.
    assert knots == pytest.approx([0, 1, 3])
    assert explained == pytest.approx([1, 0.75, 1 - (0.03 + 0.02 + 0.02) / 3 / 0.04])


def test_the_curve_falls_from_one_and_finds_the_share_explained(rng: np.random.Generator) -> None:
    signal = rng.uniform(0, 1, 40_000)
    error = 0.04 * 1.25 * signal * rng.exponential(size=signal.size)
    knots, explained = fit_curve(signal, error, np.full(signal.shape, 0.04))
    assert knots[0] == 0 and explained[0] == 1 and explained[-1] == 0
    assert (np.diff(knots) > 0).all() and (np.diff(explained) <= 0).all()
    at = np.array([0.1, 0.4, 0.7, 0.95])
    assert np.interp(at, knots, explained) == pytest.approx([0.875, 0.5, 0.125, 0], abs=0.05)


class Fading:
    """Dreams white frames that lose brightness in known steps, and knows how much it lost."""

    device = torch.device("cpu")
    config = SimpleNamespace(grid=(1, 1))
    lost = 0.1, 0.3, 0.2

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(
            latent_mean=torch.zeros(1), latent_std=torch.ones(1), encode=self.encode
        )

    def autocast(self) -> torch.autocast:
        """Changes nothing."""
        return torch.autocast("cpu", enabled=False)

    def encode(self, frames: Tensor) -> Tensor:
        """A token of two channels, both the brightness."""
        return frames.mean((-3, -2, -1))[..., None, None].expand(*frames.shape[:-3], 1, 2)

    def initial_state(self, slots: int) -> Any:
        """No frame yet."""
        return FadingState(torch.ones(slots, 1, 2), 0)

    def noise_shape(self, slots: int) -> tuple[int, ...]:
        """As a model's."""
        return slots, 2, 1, 2

    def observe(self, state: Any, frames: Tensor, actions: Tensor) -> tuple[Any, None]:
        """Remember nothing."""
        return state, None

    def imagine(
        self, state: Any, action: Tensor, noise: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, None, Any]:
        """A frame of the lost brightness, with latents that lack as much to unit mean square."""
        lost = self.lost[state.count]
        latents = torch.full((len(action), 1, 2), (1 - lost) ** 0.5)
        latents = latents + 0.1 * noise[:, 0] * (action > 0)[:, None, None]
        return (
            torch.full((len(action), SIDE, SIDE, 3), 1 - lost),
            None,
            FadingState(latents, state.count + 1),
        )


class FadingState(SimpleNamespace):
    """The latents of the last frame, and how many were dreamt."""

    def __init__(self, latents: Tensor, count: int) -> None:
        super().__init__(latents=latents, count=count)

    def clone(self) -> FadingState:
        """As a state's."""
        return FadingState(self.latents.clone(), self.count)


def white_clips(count: int, length: int) -> Clips:
    frames = np.full((count, length, SIDE, SIDE, 3), 255, np.uint8)
    zeros = np.zeros((count, length), np.int64)
    return Clips(frames, zeros, zeros.astype(np.float32), np.arange(count))


def test_readings_stand_beside_the_errors_of_their_own_frames() -> None:
    clips = white_clips(40, 5)  # more than a batch
    grey = np.full((SIDE, SIDE, 3), 127.5)
    model = cast(WorldModel, Fading())
    readings = read_dreams(model, clips, grey, context=2, costly=True)
    expected = {
        NOW: [0.1, 0.3, 0.2],
        WORST: [0.1, 0.3, 0.3],
        TOTAL: [0.1, 0.4, 0.6],
        AGE: [1, 2, 3],
        SECOND: [0, 0, 0],
        ENCODED: [(1 - x - (1 - x) ** 0.5) ** 2 for x in (0.1, 0.3, 0.2)],
    }
    assert set(readings.signals) == set(expected)
    for name, values in expected.items():
        assert readings.signals[name].shape == (40, 3)
        assert readings.signals[name][[0, -1]] == pytest.approx(np.array([values] * 2), abs=1e-5)
    assert readings.error[5] == pytest.approx([0.01, 0.09, 0.04], abs=3e-3)  # rounded to uint8
    assert readings.mean_error[5] == pytest.approx([0.25] * 3)
    free = read_dreams(model, clips, grey, context=2)
    assert set(free.signals) == {NOW, WORST, TOTAL, AGE}
    assert np.array_equal(free.error, readings.error)


def test_a_second_draw_is_another_one() -> None:
    clips = white_clips(3, 3)
    clips.actions[1] = 1  # its latents follow the noise
    grey = np.full((SIDE, SIDE, 3), 127.5)
    readings = read_dreams(cast(WorldModel, Fading()), clips, grey, context=1, costly=True)
    apart = readings.signals[SECOND]
    assert apart[0] == pytest.approx(0) and apart[2] == pytest.approx(0) and apart[1].max() > 0.01


def readings_of(error: np.ndarray, signal: np.ndarray, mean_error: float = 0.04) -> Readings:
    age = np.broadcast_to(np.arange(1.0, error.shape[1] + 1), error.shape)
    signals = {TOTAL: signal, NOW: signal, AGE: age}
    return Readings(signals, error, np.full(error.shape, mean_error), np.arange(len(error)))


def test_nothing_is_calibrated_on_a_signal_that_says_nothing() -> None:
    error = np.full((3, 4), 0.01)
    with pytest.raises(ConfigError, match="lack nothing to unit mean square"):
        calibrate(readings_of(error, np.zeros((3, 4))), {})
    assert calibrate(readings_of(error, error), {}).explained == pytest.approx((1.0, 0.75))


def test_how_well_a_signal_separates() -> None:
    a = np.array([3.0, 1.0, 1.0, 7.0])
    positive = np.array([True, False, True, False])
    pairs = [(a[i] > a[j]) + 0.5 * (a[i] == a[j]) for i in (0, 2) for j in (1, 3)]
    assert auc(a, positive) == pytest.approx(np.mean(pairs))
    assert auc(a, np.ones(4, bool)) is None


def test_the_comparison_tells_the_clock_from_what_knows_more(rng: np.random.Generator) -> None:
    def drawn() -> Readings:
        age = np.broadcast_to(np.arange(1.0, 9), (60, 8))
        error = 0.003 * age * rng.lognormal(0, 0.5, (60, 8))
        return readings_of(error, error * rng.lognormal(0, 0.1, error.shape))

    scores = compare(drawn(), drawn(), spans=(4, 8), resamples=20)
    knows, clock = (scores[name]["first 8 frames"] for name in (TOTAL, AGE))
    for name in ("spearman", "spearman_relative", "auc", "r2"):
        assert knows[name]["low"] > clock[name]["high"]
    assert knows["spearman_at_fixed_age"]["low"] > 0.8
    assert clock["spearman_at_fixed_age"]["mean"] is None
    assert knows["calibration_error"]["mean"] < 0.1
    assert scores[TOTAL]["first 4 frames"]["spearman"]["mean"] > 0.8


def test_bins_show_trust_and_what_was_really_explained() -> None:
    trust = np.linspace(0, 0.99, 20).reshape(2, 10)
    error = 0.04 * (1 - trust)
    for i, row in enumerate(calibration_bins(readings_of(error, error), trust)):
        assert row["trust"] == pytest.approx(row["explained"])
        assert row["trust"] == pytest.approx(trust.ravel()[2 * i : 2 * i + 2].mean())


def test_what_truncation_keeps() -> None:
    trust = np.array([[0.9, 0.6, 0.4, 0.8], [0.8, 0.2, 0.1, 0.1]])
    error = np.array([[0.004, 0.008, 0.04, 0.04], [0.004, 0.04, 0.04, 0.04]])
    test = readings_of(error, error)
    half = truncated(test, trust)["0.5"]
    assert half["mean_length"]["mean"] == 1.5 and half["untruncated"]["mean"] == 0
    assert half["explained"]["mean"] == pytest.approx(1 - (0.004 + 0.008 + 0.004) / 3 / 0.04)
    assert half["below_20_db"]["mean"] == 0
    # The clock keeps the first frames whole and the second ones by half.
    clock = 1 - (0.008 + 0.5 * 0.048) / 3 / 0.04
    assert half["explained_by_clock"]["mean"] == pytest.approx(clock)
    gain = half["explained"]["mean"] - clock
    assert half["explained_above_clock"]["mean"] == pytest.approx(gain)
    assert half["below_20_db_by_clock"]["mean"] == pytest.approx(0.5 / 3)
    none = truncated(test, np.zeros_like(trust))["0.3"]
    assert none["mean_length"]["mean"] == 0 and none["explained"]["mean"] is None


def test_drift_and_misplaced_trust() -> None:
    trust = np.array([[0.9, 0.6, 0.2], [0.7, 0.6, 0.4]])
    error = np.array([[0.01, 0.05, 0.05], [0.01, 0.01, 0.05]])
    test = readings_of(error, error)
    found = drift(test, trust)
    assert found["trust"] == pytest.approx([0.8, 0.6, 0.3])
    assert found["explained"] == pytest.approx([0.75, 0.25, -0.25])
    assert found["trust_horizon"]["mean"] == 2 and found["real_horizon"]["mean"] == 1
    assert surely_wrong(test, trust)["mean"] == pytest.approx(1 / 4)
    assert surely_wrong(test, np.zeros_like(trust))["mean"] is None


@pytest.fixture
def checkpoint(ring_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return shutil.copytree(ring_checkpoint, tmp_path / "checkpoint")


SMALL = {"clips": 6, "context": 4, "horizon": 5}


def test_a_checkpoint_is_calibrated_once_and_then_trusted(
    checkpoint: Path, ring_rollouts: Path
) -> None:
    made = calibrate_checkpoint(checkpoint, ring_rollouts, **SMALL)
    found = Trust.load(checkpoint)
    assert found == made and found.calibrated
    assert found.about["clips"] == {
        "clips": 6,
        "episodes": 3,
        "context": 4,
        "horizon": 5,
        "seed": 0,
    }
    assert calibrate_checkpoint(checkpoint, ring_rollouts, **SMALL) == made


def test_impossible_calibrations_are_refused(
    checkpoint: Path, ring_rollouts: Path, counting_store: Path
) -> None:
    for name in SMALL:
        with pytest.raises(ConfigError, match="must be at least 1"):
            calibrate_checkpoint(checkpoint, ring_rollouts, **(SMALL | {name: 0}))
    with pytest.raises(RolloutError, match="none of 3 episodes has 104 frames"):
        calibrate_checkpoint(checkpoint, ring_rollouts, **(SMALL | {"horizon": 100}))
    with pytest.raises(RolloutError, match="holds rollouts of Counting-v0"):
        calibrate_checkpoint(checkpoint, counting_store, **SMALL)
    assert not Trust.load(checkpoint).calibrated


def test_the_command_calibrates_and_compares(
    checkpoint: Path, ring_rollouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [f"--{name}={value}" for name, value in SMALL.items()]
    common = ["trust", "--checkpoint", str(checkpoint), "--rollouts", str(ring_rollouts), *sizes]
    assert main([*common, "--test", str(ring_rollouts)]) == 2
    assert "--test and --out belong together" in capsys.readouterr().err
    assert not Trust.load(checkpoint).calibrated
    out = tmp_path / "trust.json"
    assert main([*common, "--test", str(ring_rollouts), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert Trust.load(checkpoint).calibrated
    result = json.loads(out.read_text())
    assert {TOTAL, WORST, NOW, AGE, SECOND, ENCODED} == set(result["signals"])
    assert all(name in shown for name in result["signals"])
    assert len(result["drift"]["trust"]) == 5
    assert set(result["truncated_at_trust"]) == {"0.3", "0.5", "0.7"}
    assert set(result["cost_of_reading_per_step"]) == {TOTAL, SECOND, ENCODED}
