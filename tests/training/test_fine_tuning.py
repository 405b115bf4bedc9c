"""Training that begins with the weights of another run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from tests.conftest import write_counting_store
from tests.training.conftest import MakeRun


def test_a_run_begins_with_the_weights_it_is_given(
    make_run: MakeRun, finished_run: TrainConfig, quick: None
) -> None:
    first = finished_run.out
    # A learning rate of next to nothing: what is trained stays what it was, all of it.
    still = StageConfig(steps=2, batch=2, learning_rate=1e-12, warmup=0, weight_decay=0.0)
    second = train_world_model(make_run("second", weights_from=first, dynamics=still, seed=5))
    before, after = (load_world_model(folder).state_dict() for folder in (first, second))
    assert len(before) > 20
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0, msg=name)
    learnt = StageConfig(steps=2, batch=2, learning_rate=1e-2, warmup=0)
    third = load_world_model(
        train_world_model(make_run("third", weights_from=first, dynamics=learnt))
    )
    moved = {name for name, x in third.state_dict().items() if not torch.equal(x, before[name])}
    assert any(name.startswith("dynamics.") for name in moved)
    assert not any(name.startswith("tokenizer.") for name in moved)


def test_the_architecture_comes_with_the_weights(
    make_run: MakeRun, debug_checkpoint: Path, quick: None
) -> None:
    short = StageConfig(steps=1, batch=2, learning_rate=1e-3)
    wide = {"architecture": {"dynamics": {"ssm_state_dim": 24}}}
    first = train_world_model(
        make_run("first", **wide, tokenizer_from=str(debug_checkpoint), dynamics=short)
    )
    second = train_world_model(make_run("second", weights_from=str(first), dynamics=short))
    assert load_world_model(second).config.dynamics.ssm_state_dim == 24


def test_weights_of_another_environment_are_refused(
    make_run: MakeRun, debug_checkpoint: Path, tmp_path: Path
) -> None:
    first = str(debug_checkpoint)
    grey = str(write_counting_store(tmp_path / "grey", channels=1))
    run = make_run("second", data=grey, weights_from=first)
    with pytest.raises(ConfigError, match="was trained with frame_channels 3, but .* ask for 1"):
        train_world_model(run)
    assert not Path(run.out).exists()
    with pytest.raises(ConfigError, match="weights_from brings a tokenizer"):
        dataclasses.replace(make_run("second", weights_from=first), tokenizer_from=first)


def test_shortcuts_may_be_learnt_besides(
    make_run: MakeRun, debug_checkpoint: Path, quick: None
) -> None:
    with pytest.raises(ConfigError, match="shortcut_passes is for a model that begins with"):
        make_run("second", shortcut_passes=4)
    learnt = StageConfig(steps=2, batch=2, learning_rate=1e-2, warmup=0)
    run = make_run(
        "second", weights_from=str(debug_checkpoint), shortcut_passes=4, shortcut_from=0.0,
        dynamics=learnt,
    )  # fmt: skip
    second = load_world_model(train_world_model(run))
    assert second.config.dynamics.shortcut_passes == 4
    assert second.dynamics.jump is not None and second.dynamics.jump.weight.any()
    again = make_run("third", weights_from=run.out, shortcut_passes=8)
    with pytest.raises(ConfigError, match="has shortcuts of up to 4 passes already"):
        train_world_model(again)
