"""The benchmark of training runs whole at a small size, and its arithmetic holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.training_speed import Trainer
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.presets import preset
from tests.benchmarks.conftest import Run


def test_every_length_is_measured(training_speed: dict[str, Any]) -> None:
    rows = training_speed["by_window"]
    assert [(row["window"], row["rows"]) for row in rows] == [(4, 6), (12, 2)]
    assert (
        training_speed["objective"]["scheme"] == "clean_state"
        and training_speed["dtype"] == "bfloat16"
    )
    for row in rows:
        assert len(row["readings"]) == 2
        assert row["frames_per_second"] == pytest.approx(np.median(row["readings"]))
        operations = row["frames_per_second"] * row["flops_per_frame"] / 1e9
        share = operations / row["matmul_gflops"]["bfloat16"]
        assert row["share_of_matmul_rate"] == pytest.approx(share) and share > 0
        assert set(row["share_of_time"]) == {"gradients", "optimiser", "averaging"}
        assert sum(row["share_of_time"].values()) == pytest.approx(1)
    profiled = training_speed["profile"]
    seconds = [operation["seconds"] for operation in profiled["operations"]]
    assert (profiled["window"], profiled["rows"]) == (12, 2) and len(seconds) > 5
    assert seconds == sorted(seconds, reverse=True) and 0 < sum(seconds) <= profiled["seconds"]


@pytest.fixture
def trainer() -> Trainer:
    torch.manual_seed(0)
    return Trainer(WorldModel(preset("debug")), ObjectiveConfig())


def test_an_update_changes_weights_and_their_average(trainer: Trainer) -> None:
    weights = {name: p.detach().clone() for name, p in trainer.modules.named_parameters()}
    averages = {name: p.clone() for name, p in trainer.average.weights.items()}
    assert min(trainer.update(trainer.windows(2, 6)).values()) > 0
    for before, now in (
        (weights, dict(trainer.modules.named_parameters())),
        (averages, trainer.average.weights),
    ):
        assert any(not torch.equal(before[name], now[name]) for name in before)


def test_counting_leaves_no_gradient_and_the_same_work_is_counted_again(trainer: Trainer) -> None:
    once = trainer.flops(8)
    assert once == trainer.flops(8) > 0
    assert all(p.grad is None for p in trainer.modules.parameters())
    # Attention and scan look back a fixed number of frames: work grows with the frames.
    assert trainer.flops(16) == pytest.approx(2 * once, rel=0.2)


def test_windows_of_continuous_actions_lie_in_their_box() -> None:
    box = ActionConfig(low=(-1.0, 0.0), high=(1.0, 3.0))
    trainer = Trainer(WorldModel(preset("debug", actions=box)), ObjectiveConfig())
    actions = trainer.windows(3, 5).actions
    assert actions.shape == (3, 5, 2) and actions.is_floating_point()
    assert (actions >= torch.tensor(box.low)).all() and (actions <= torch.tensor(box.high)).all()


def test_checkpointed_activations_change_neither_the_work_nor_what_is_asked_of_the_model(
    run: Run,
) -> None:
    small = ("--preset", "debug", "--windows", 4, "--frames", 8, "--rounds", 1, "--profile-window",
             4, "--matmul-size", 16, "--copied-mebibytes", 1)  # fmt: skip
    plain, checkpointed = run("training_speed", *small), run(
        "training_speed", *small, "--checkpoint-activations"
    )  # fmt: skip
    assert not plain["checkpoint_activations"] and checkpointed["checkpoint_activations"]
    one, other = (result["by_window"][0]["flops_per_frame"] for result in (plain, checkpointed))
    assert one == other
