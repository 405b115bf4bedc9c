"""Two trainings in one folder do not write over each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamenv.core.errors import FolderInUseError
from dreamenv.core.files import UNFINISHED
from dreamenv.core.locks import hold_folder
from dreamenv.training.config import TrainConfig
from dreamenv.training.train import train_world_model
from tests.training.conftest import MakeRun


def test_the_second_training_in_a_folder_is_refused_at_once(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr("dreamenv.training.plan.RolloutStore", None)  # nothing is read before
    with (
        hold_folder(run.out),
        pytest.raises(FolderInUseError, match=r"another run is at work in .*: process \d+ on "),
    ):
        train_world_model(run)


def test_a_training_removes_what_a_killed_one_left(
    make_run: MakeRun, finished_run: TrainConfig, copied_run: TrainConfig, quick: None
) -> None:
    for folder in (".", "training"):
        (Path(copied_run.out) / folder / f".model.12345678{UNFINISHED}").touch()
    train_world_model(copied_run)
    assert not list(Path(copied_run.out).rglob(f".*{UNFINISHED}"))
