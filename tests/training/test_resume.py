"""A run that was killed or stopped and started again is, bit for bit, the run that was not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamenv.core.errors import CheckpointError, ConfigError, DreamEnvError
from dreamenv.core.json_lines import read_json_lines
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.loop import Stage
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import load_world_model, read_config
from dreamenv.world_model.objective import Batch, ObjectiveConfig
from tests.training.conftest import MakeRun


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


def kill_at(monkeypatch: pytest.MonkeyPatch, stage: str, update: int) -> None:
    """Die in the middle of an update of one stage."""
    original = Stage._update

    def dying(self: Stage, batch: Any) -> Any:
        result = original(self, batch)  # weights have moved, but nothing is saved yet
        if (self.name, self.step) == (stage, update):
            raise Killed
        return result

    monkeypatch.setattr(Stage, "_update", dying)


def signal_at(monkeypatch: pytest.MonkeyPatch, stage: str, update: int, number: int) -> None:
    """Send this process a signal in the middle of an update."""
    original = Stage._update

    def signalled(self: Stage, batch: Any) -> Any:
        if (self.name, self.step) == (stage, update):
            os.kill(os.getpid(), number)
        return original(self, batch)

    monkeypatch.setattr(Stage, "_update", signalled)


def assert_same_run(one: TrainConfig, other: TrainConfig) -> None:
    """Equal weights, and equal states from which to go on."""
    left, right = Path(one.out), Path(other.out)
    name = "model.safetensors"
    same = (left / name).read_bytes() == (right / name).read_bytes()
    assert same, name  # compared first: pytest would work out the difference of megabytes
    for stage in ("tokenizer", "dynamics"):
        states = [
            torch.load(folder / "training" / f"{stage}.pt", weights_only=True)
            for folder in (left, right)
        ]
        for state in states:
            del state["seconds"]
        assert_equal(*states)


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        same = one == other
        assert same


@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveConfig(scheme="diffusion_forcing"),
        ObjectiveConfig(scheme="clean_state", self_forcing=0.5),
    ],
    ids=["diffusion_forcing", "clean_state"],
)
def test_killed_in_both_stages_and_resumed_equals_uninterrupted(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None, objective: ObjectiveConfig
) -> None:
    changes: dict[str, Any] = {"objective": objective}
    if objective.self_forcing:
        changes["self_forcing_from"] = 0.5
    whole, broken = make_run("whole", **changes), make_run("broken", **changes)
    train_world_model(whole)
    for stage, update in (("tokenizer", 0), ("tokenizer", 3), ("dynamics", 3), ("dynamics", 5)):
        with monkeypatch.context() as patch:
            kill_at(patch, stage, update)
            with pytest.raises(Killed):
                train_world_model(broken)
        torch.rand(update + 3)  # the process that resumes has drawn other numbers before
    train_world_model(broken)
    assert_same_run(whole, broken)
    train_world_model(broken)  # nothing is left to do, and nothing changes
    assert_same_run(whole, broken)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 8, "window_from": 4, "segments": 2, "state_reset": 0.5},
        {"window": 8, "window_from": 4, "conditioning": "pose", "retrace": 0.5},
    ],
    ids=["segments", "growing under poses"],
)
def test_runs_that_train_to_remember_resume_too(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, pose_store: Path, quick: None,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    """With the same resets, windows and way back, whichever update they are killed in."""
    changes |= {"data": str(pose_store)}
    whole, broken = make_run("whole", **changes), make_run("broken", **changes)
    train_world_model(whole)
    for update in (1, 3, 5):
        with monkeypatch.context() as patch:
            kill_at(patch, "dynamics", update)
            with pytest.raises(Killed):
                train_world_model(broken)
        torch.rand(update + 3)
    train_world_model(broken)
    assert_same_run(whole, broken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_update_saves_and_stops(
    make_run: MakeRun, finished_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, quick: None,
    number: int,
) -> None:  # fmt: skip
    """At an odd update, which is no checkpoint, so that it is the signal that saved it."""
    stopped = make_run("stopped")
    handler = signal.getsignal(number)
    for stage, update in (("tokenizer", 0), ("dynamics", 2)):
        with monkeypatch.context() as patch:
            signal_at(patch, stage, update, number)
            with pytest.raises(KeyboardInterrupt):
                train_world_model(stopped)
        assert signal.getsignal(number) is handler
        path = Path(stopped.out) / "training" / f"{stage}.pt"
        assert torch.load(path, weights_only=True)["step"] == update + 1
    train_world_model(stopped)
    assert_same_run(finished_run, stopped)


def test_checkpoints_hold_the_average_and_training_goes_on_without_it(
    make_run: MakeRun, few_clips: None
) -> None:
    """Evaluating and saving in the middle leave no trace in what is learnt."""
    few = StageConfig(steps=4, batch=2, learning_rate=1e-3, warmup=2)
    often = make_run("often", evaluate_every=2, checkpoint_every=1, dynamics=few)
    seldom = make_run("seldom", evaluate_every=100, checkpoint_every=100, dynamics=few)
    train_world_model(often)
    train_world_model(seldom)
    assert_same_run(often, seldom)
    state = torch.load(Path(often.out) / "training" / "dynamics.pt", weights_only=True)
    saved = load_world_model(often.out).state_dict()
    average = state["average"]["weights"]
    assert all(torch.equal(saved[name], average[name]) for name in average)
    assert any(not torch.equal(saved[name], state["modules"][name]) for name in average)


def test_batches_of_both_stages_depend_on_the_seed(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """Frames and actions, which the weights, that depend on the seed as well, do not change."""
    seen: list[torch.Tensor] = []

    def noted(self: Stage, batches: list[Any]) -> tuple[dict[str, float], float]:
        (batch,) = batches  # of a single process
        seen.append(batch.actions if isinstance(batch, Batch) else batch)
        return {"total": 0.0}, 0.0

    monkeypatch.setattr(Stage, "_update", noted)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        train_world_model(make_run(name, seed=seed))
    one, again, other = seen[:10], seen[10:20], seen[20:]  # 4 of frames, 6 of windows each
    assert all(map(torch.equal, one, again)) and len(other) == len(one)
    assert not any(map(torch.equal, one, other))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("stage", ["tokenizer", "dynamics"])
def test_a_damaged_state_is_named(copied_run: TrainConfig, stage: str) -> None:
    run = copied_run
    path = Path(run.out) / "training" / f"{stage}.pt"
    for harm in (truncate, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(os.urandom(99))):
        harm(path)
        with pytest.raises(CheckpointError, match=f"{stage}.pt cannot be resumed.*delete the file"):
            train_world_model(run)


def test_another_environment_preset_or_seed_is_refused(
    make_run: MakeRun, copied_run: TrainConfig
) -> None:
    run = copied_run
    with pytest.raises(ConfigError, match="begun with seed 0, not 5; repeat that"):
        train_world_model(make_run(seed=5))
    with pytest.raises(ConfigError, match="begun with preset 'debug', not 'small'"):
        train_world_model(make_run(preset="small"))
    path = Path(run.out) / "train_config.json"
    path.write_text(path.read_text().replace("Counting-v0", "Chess-v0"))
    with pytest.raises(ConfigError, match="begun with env_id 'Chess-v0', not 'Counting-v0'"):
        train_world_model(run)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="train_config.json is damaged"):
        train_world_model(run)


def test_more_updates_can_be_asked_for_later(
    make_run: MakeRun, copied_run: TrainConfig, quick: None
) -> None:
    assert read_config(copied_run.out)[1]["dynamics_updates"] == 6
    longer = StageConfig(steps=9, batch=2, learning_rate=1e-3, warmup=2)
    train_world_model(make_run(dynamics=longer))
    assert read_config(copied_run.out)[1]["dynamics_updates"] == 9


def test_a_full_disk_stops_with_advice_and_loses_nothing(
    make_run: MakeRun, finished_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    full = make_run("full")
    replace, renamed = os.replace, []

    def fails_at_the_last_weights(source: str, target: Any) -> None:
        renamed.append(Path(target).name)
        if renamed.count("model.safetensors") == 3:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails_at_the_last_weights)
        with pytest.raises(DreamEnvError, match="No space left.*make room.*same command again"):
            train_world_model(full)
    load_world_model(full.out)
    train_world_model(full)
    assert_same_run(finished_run, full)


def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    run = make_run()
    original = Stage._update

    def poisoned(self: Stage, batch: Any) -> Any:
        if (self.name, self.step) == ("dynamics", 3):
            batch[0].latents.fill_(torch.nan)
        return original(self, batch)

    monkeypatch.setattr(Stage, "_update", poisoned)
    with pytest.raises(DreamEnvError, match="gradient is not finite at update 3.*last checkpoint"):
        train_world_model(run)
    state = torch.load(Path(run.out) / "training" / "dynamics.pt", weights_only=True)
    assert state["step"] == 2
    assert all(p.isfinite().all() for p in load_world_model(run.out).state_dict().values())


def test_after_a_kill_no_step_is_logged_twice(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """Rows and charts of updates that are done again are those of a run never killed."""
    whole, broken = (make_run(name, log_every=1, checkpoint_every=4) for name in ("w", "b"))
    train_world_model(whole)
    for stage, update in (("tokenizer", 3), ("dynamics", 2), ("dynamics", 5)):
        with monkeypatch.context() as patch:
            kill_at(patch, stage, update)
            with pytest.raises(Killed):
                train_world_model(broken)
        with (Path(broken.out) / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"stage": "dyn')  # the kill came in the middle of a line
    train_world_model(broken)
    assert logged_steps(broken) == logged_steps(whole)


def logged_steps(run: TrainConfig) -> list[list[tuple[Any, ...]]]:
    """What a run's metrics and charts tell of: (stage, kind, step), and (tag, step)."""
    records = read_json_lines(Path(run.out) / "metrics.jsonl")
    events = EventAccumulator(str(Path(run.out) / "tensorboard"))
    events.Reload()
    return [
        [(record["stage"], record["kind"], record["step"]) for record in records],
        [(tag, e.step) for tag in sorted(events.scalars.Keys()) for e in events.Scalars(tag)],
    ]
