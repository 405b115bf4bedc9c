"""`checkpoint_activations` reaches the layers and trains the same model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import checkpoint as torch_checkpoint

from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model
from dreamenv.world_model.network import dynamics
from tests.training.conftest import MakeRun


@pytest.mark.usefixtures("quick")
def test_the_same_model_is_trained(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[0])
        return torch_checkpoint.checkpoint(*args, **kwargs)

    monkeypatch.setattr(dynamics, "checkpoint", counted)
    usual = train_world_model(make_run("usual"))
    assert not calls
    again = train_world_model(make_run("again", checkpoint_activations=True))
    assert len(calls) >= 6 * 2, "every layer at every update"
    one, other = (load_world_model(folder, "cpu").state_dict() for folder in (usual, again))
    for name, wanted in one.items():
        assert torch.equal(other[name], wanted), name
