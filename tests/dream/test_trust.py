"""How far a dream is to be trusted: the uncertainty it rests on, its calibration on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamenv.core.errors import CheckpointError
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.trust import TRUST, Trust, shortfall, trust_horizon
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.state import State

CURVE = (0.0, 0.2, 0.6), (1.0, 0.8, 0.0)
ABOUT = {"steps": 1}
ROUNDING = 8 * torch.finfo(torch.float32).eps
"""A shortfall is 1 minus a mean square, so however small it errs by a few units in 1's last place;
trust, at twice the slope, by twice as many."""


def model_of(mean: Tensor, std: Tensor) -> WorldModel:
    """A model of which only the scale of the latents is known."""
    tokenizer = SimpleNamespace(latent_mean=mean, latent_std=std)
    return cast(WorldModel, SimpleNamespace(tokenizer=tokenizer))


PLAIN = model_of(torch.zeros(1), torch.ones(1))


def state_of(latents: Tensor) -> State:
    slots = torch.zeros(len(latents))
    return State([], latents, slots, slots)


def state_with(*shortfalls: float) -> State:
    """One slot for each, whose latents lack just that to unit mean square."""
    size = (1 - torch.tensor(shortfalls)).sqrt()
    return state_of(size[:, None, None].expand(-1, 4, 2))


def test_the_shortfall_of_a_posterior_mean_is_its_variance() -> None:
    # x ~ N(0, 1) seen as y = x + s ε has the posterior mean y/(1 + s²) and variance s²/(1 + s²).
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.3, 2.0, 1.0])
    noise = torch.tensor([0.2, 0.5, 1.0, 3.0])
    x, e = torch.randn(2, 4, 20_000, 3, generator=generator)
    posterior = (x + noise[:, None, None] * e) / (1 + noise[:, None, None].square())
    found = shortfall(model_of(mean, std), state_of((posterior - mean) / std))
    variance = noise.square() / (1 + noise.square())
    assert found == pytest.approx(variance, abs=0.02)
    assert found == pytest.approx((x - posterior).square().mean((1, 2)), abs=0.02)


def test_a_real_frame_lacks_nothing(debug_checkpoint: Path) -> None:
    model = load_for_dreaming(debug_checkpoint, "cpu", "float32").model
    frames = torch.randint(256, (3, 4, 64, 64, 3), dtype=torch.uint8)
    actions = torch.zeros(3, 4, dtype=torch.int64)
    state, _ = model.observe(model.initial_state(3), frames, actions)
    assert shortfall(model, state) == pytest.approx(torch.zeros(3), abs=1e-5)


def test_trust_is_linear_between_knots_and_ends_with_them() -> None:
    uncertainty, trust = Trust(*CURVE)(PLAIN, state_with(0.0, 0.1, 0.2, 0.5, 0.6, 0.9))
    assert uncertainty == pytest.approx(torch.tensor([0.0, 0.1, 0.2, 0.5, 0.6, 0.9]), abs=ROUNDING)
    assert trust == pytest.approx(torch.tensor([1.0, 0.9, 0.8, 0.2, 0.0, 0.0]), abs=ROUNDING)


def test_uncertainty_piles_up_over_a_dream() -> None:
    before = torch.tensor([0.3, 0.1], dtype=torch.float64)
    uncertainty, trust = Trust(*CURVE)(PLAIN, state_with(0.2, 0.0), before)
    assert uncertainty == pytest.approx(torch.tensor([0.5, 0.1]), abs=ROUNDING)
    assert trust == pytest.approx(torch.tensor([0.2, 0.9]), abs=ROUNDING)


def test_latents_that_are_no_numbers_are_not_trusted_nor_are_their_neighbours_touched() -> None:
    state = state_with(0.2, 0.2, 0.2)
    latents = state.latents.clone()
    latents[1, 2, 0] = torch.nan
    uncertainty, trust = Trust(*CURVE)(PLAIN, state_of(latents))
    assert trust == pytest.approx(torch.tensor([0.8, 0.0, 0.8]), abs=ROUNDING)
    assert uncertainty.isnan().tolist() == [False, True, False]
    _, later = Trust(*CURVE)(PLAIN, state, uncertainty)
    assert later[1] == 0  # what follows from such a frame is worth no more


def test_without_calibration_there_is_uncertainty_but_no_trust(debug_checkpoint: Path) -> None:
    trust = Trust.load(debug_checkpoint)
    assert not trust.calibrated
    uncertainty, unknown = trust(PLAIN, state_with(0.3))
    assert uncertainty == pytest.approx(torch.tensor([0.3]), abs=ROUNDING)
    assert unknown.isnan().all()
    with pytest.raises(CheckpointError, match=r"has no trust\.json.*dreamenv trust"):
        trust.require()
    with pytest.raises(CheckpointError, match="not calibrated"):
        Trust().save(debug_checkpoint)


@pytest.fixture
def calibrated(debug_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the debug checkpoint with a calibration."""
    folder = shutil.copytree(debug_checkpoint, tmp_path / "copy")
    Trust(*CURVE, about=ABOUT | {"steps": steps_of(folder)}).save(folder)
    return folder


def steps_of(folder: Path) -> int:
    return load_for_dreaming(folder, "cpu", "float32").model.config.sampler.steps


def test_what_is_saved_comes_back(calibrated: Path) -> None:
    found = Trust.load(calibrated)
    assert (found.uncertainty, found.explained) == CURVE and found.calibrated
    assert found.about == {"steps": steps_of(calibrated)}
    found.require()


def test_a_calibration_is_only_good_for_its_own_weights_and_sampler(calibrated: Path) -> None:
    steps = steps_of(calibrated)
    assert Trust.load(calibrated, steps).calibrated
    other = Trust.load(calibrated, steps + 1)
    with pytest.raises(CheckpointError, match=f"for {steps} denoising passes.*not {steps + 1}"):
        other.require()
    with (calibrated / "model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.warns(UserWarning, match="made for other weights"):
        other = Trust.load(calibrated)
    with pytest.raises(CheckpointError, match="made for other weights.*dreamenv trust"):
        other.require()


def changed(**values: Any) -> Callable[[Path], object]:
    """The values, as if they had been written so: without the checksum of the others."""

    def change(path: Path) -> None:
        data = json.loads(path.read_text()) | values
        del data["sha256"]
        path.write_text(json.dumps(data))

    return change


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_text(path.read_text()[:40]),
        lambda path: path.write_bytes(b"\xff\xfe no text"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
        changed(version=99),
        changed(about={}),
        changed(uncertainty=[], explained=[]),
        changed(uncertainty=[0.0, 0.2]),
        changed(uncertainty=[0.0, 0.6, 0.2]),
        changed(uncertainty=[0.0, float("nan"), 0.6]),
        changed(uncertainty=["low", "middle", "high"]),
        changed(explained=[1.0, 0.2, 0.8]),
        changed(explained=[1.5, 0.8, 0.0]),
        changed(explained=[1.0, float("nan"), 0.0]),
    ],
)
def test_a_damaged_calibration_is_refused(calibrated: Path, harm: Callable[[Path], object]) -> None:
    harm(calibrated / TRUST)
    with pytest.raises(CheckpointError, match=r"trust\.json is damaged.*or delete it"):
        Trust.load(calibrated)


@pytest.mark.parametrize(
    ("curve", "steps"),
    [
        ([0.9, 0.7, 0.5, 0.4, 0.8], 3),
        ([0.4, 0.9], 0),
        ([0.9, 0.9, 0.9], 3),
        ([0.9, np.nan, 0.9], 1),
        ([], 0),
    ],
)
def test_the_horizon_is_the_steps_before_trust_falls_below_half(
    curve: list[float], steps: int
) -> None:
    assert trust_horizon(curve) == steps
