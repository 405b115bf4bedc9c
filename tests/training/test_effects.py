"""Every option of a run decides something, or the run says that it would decide nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.effects import BESIDE, options, require_effect, without_effect
from dreamenv.training.train import train_world_model
from dreamenv.world_model.config import ActionConfig, WorldModelConfig
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.presets import preset
from tests.training.conftest import MakeRun
from tests.world_model.batches import conditioned_model, random_batch

STAGE = StageConfig(steps=7, batch=3, learning_rate=1e-2, warmup=7)
OTHER: dict[str, Any] = {
    "preset": "base", "architecture": {"dynamics": {}}, "tokenizer_from": "a", "weights_from": "a",
    "shortcut_passes": 8, "latents": "a", "conditioning": "pose", "pose": "agent_pos",
    "frame_size": (32, 48), "moving_pixels": 5.0, "rewards": "continuous",
    "window": 32, "window_from": 12, "window_growth": 0.25, "segments": 2,
    "state_reset": 0.5, "stride": 2, "retrace": 0.5, "ends": 0.5, "seed": 1, "dtype": "float32",
    "threads": 1, "device": "cpu", "compile": True, "checkpoint_activations": True, "shares": 2,
    "self_forcing_from": 0.25, "shortcut_from": 0.25, "log_every": 7, "evaluate_every": 7,
    "checkpoint_every": 7, "spawns": 7, "spawn_frames": 7, "data": "a", "held_out": "b", "out": "c",
    "pose_drift": 0.3,
}  # fmt: skip
"""Another value than the default for every option, so that a new option must be thought of here."""
OBJECTIVE: dict[str, Any] = {
    "scheme": "diffusion_forcing", "clean_prefix": 1.0, "pure_noise": 0.5, "context_noise": 0.5,
    "self_forcing": 1.0, "self_forcing_rounds": 1, "shortcut": 0.75, "reward_weight": 1.0,
    "continuation_weight": 1.0, "level_grid": 4, "landmark_noise": 0.5, "landmark_dropout": 0.5,
    "landmark_share": 0.5, "landmark_weight": 1.0, "motion_weight": 1.0,
}  # fmt: skip
ALWAYS = {
    "data", "held_out", "out", "architecture", "tokenizer_from", "weights_from", "latents",
    "conditioning", "rewards", "window", "segments", "ends", "seed", "dtype", "threads", "device",
    "compile", "checkpoint_activations", "log_every", "evaluate_every", "checkpoint_every",
    "shares", "spawns", "spawn_frames", "objective.scheme", "objective.pure_noise",
    "objective.reward_weight", "objective.continuation_weight",
    *(f"dynamics.{field.name}" for field in dataclasses.fields(StageConfig)),
}  # fmt: skip
"""Options that decide something in every run, or are refused by `TrainConfig` itself where not;
`ends` is held against the rollouts."""


def model(**dynamics: Any) -> WorldModelConfig:
    plain = preset("debug", actions=ActionConfig(n=3))
    return dataclasses.replace(plain, dynamics=dataclasses.replace(plain.dynamics, **dynamics))


RUNS: dict[str, tuple[dict[str, Any], WorldModelConfig]] = {
    "plain": ({}, model()),
    "forcing": ({"objective": {"scheme": "diffusion_forcing"}}, model()),
    "both ways": ({}, model(scan="none", attention="bidirectional")),
    "poses": ({"conditioning": "pose"}, model()),
    "shortcuts": ({}, model(shortcut_passes=4)),
    "growing": ({"window_from": 12}, model()),
    "cut": ({"segments": 2}, model()),
    "self-forced": ({"objective": {"self_forcing": 0.5}, "self_forcing_from": 0.5}, model()),
    "tokenizer from elsewhere": ({"tokenizer_from": "a"}, model()),
    "landmarks": ({}, model(landmarks=LandmarkConfig(count=4, nearest=2, layers=(0,)))),
    "weights from elsewhere": ({"weights_from": "a", "shortcut_passes": 4},
                               model(shortcut_passes=4)),
}  # fmt: skip


def made(base: dict[str, Any], option: str = "", value: Any = None) -> TrainConfig:
    """A run of these options and one more, given as on a command line."""
    plain = dataclasses.asdict(TrainConfig("", "", "")) | {"tokenizer": dataclasses.asdict(STAGE)}
    plain["tokenizer"] = dataclasses.asdict(TrainConfig("", "", "").tokenizer)
    for name, given in base.items():
        plain[name] = plain[name] | given if isinstance(given, dict) else given
    if option:
        *outer, name = option.split(".")
        place = plain[outer[0]] if outer else plain
        place[name] = value
    stages = {name: StageConfig(**plain.pop(name)) for name in ("tokenizer", "dynamics")}
    return TrainConfig(**plain | stages | {"objective": ObjectiveConfig(**plain["objective"])})


def other_value(option: str) -> Any:
    *outer, name = option.split(".")
    if outer and outer[0] != "objective":
        return (
            getattr(STAGE, name) if name in ("steps", "batch", "learning_rate", "warmup") else 0.5
        )
    return (OBJECTIVE if outer else OTHER)[name]


@pytest.mark.parametrize("option", [name for name, _ in options(TrainConfig("", "", ""))])
def test_every_option_has_an_effect_or_is_refused(option: str) -> None:
    """In eleven kinds of runs; there is one in which each has an effect."""
    default = dict(options(TrainConfig("", "", "")))[option]
    value, effective = other_value(option), 0
    assert value != default or option in ("data", "held_out", "out")
    for base, architecture in RUNS.values():
        try:
            run = made(base, option, value)
        except ConfigError:
            assert option in ("state_reset", "stride", "retrace", "shortcut_passes", "architecture",
                              "tokenizer_from", "weights_from")  # fmt: skip
            continue
        reason = without_effect(run, architecture).get(option)
        effective += reason is None
        if reason is None:
            continue
        assert option not in ALWAYS
        if option.split(".")[0] in BESIDE:
            assert any(note.startswith(f"{option} ") for note in require_effect(run, architecture))
        else:
            with pytest.raises(ConfigError, match="has no effect: "):
                require_effect(run, architecture)
    conditional = option not in ALWAYS
    assert effective or option == "objective.self_forcing_rounds"
    assert conditional or effective + 4 >= len(RUNS)


@pytest.mark.parametrize("kind", ["plain", "forcing", "both ways", "shortcuts", "self-forced"])
def test_options_of_the_objective_have_an_effect_where_it_is_said(kind: str) -> None:
    """Losses of a tiny model, each option changed in turn: equal exactly where none is claimed."""
    base, architecture = RUNS[kind]
    changes = {
        name: getattr(architecture.dynamics, name)
        for name in ("scan", "attention", "shortcut_passes")
        if kind in ("both ways", "shortcuts")
    }
    dreamt = conditioned_model("action", **changes)
    data = random_batch(dreamt, 4, 6)

    def loss(run: TrainConfig) -> torch.Tensor:
        return dreamt.loss(data, run.objective, torch.Generator().manual_seed(0))["total"]

    for name, value in OBJECTIVE.items():
        run = made({"self_forcing_from": 0.5, **base}, f"objective.{name}", value)
        same = torch.equal(loss(made(base)), loss(run))
        claimed = f"objective.{name}" not in without_effect(run, architecture)
        if name == "scheme" and kind in ("forcing", "both ways"):
            continue  # it is that already, or always
        assert claimed != same, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"self_forcing": 0.5}}, "self_forcing 0.5 has no effect: self_forcing begins"
         " after self_forcing_from 1.0 .*set self_forcing_from below 1"),
        ({"objective": {"clean_prefix": 0.3}}, "clean_prefix 0.3 .*clean_state keeps no clean pre"),
        ({"objective": {"shortcut": 0.5}}, "shortcut 0.5 .*have no shortcuts: set dynamics.short"),
        ({"window_growth": 0.2}, "window_growth 0.2 .*windows do not grow: set window_from"),
        ({"window_from": 4, "window_growth": 0.0}, "window_from 4 .*full length from the start"),
        ({"pose": "agent_pos"}, "pose 'agent_pos' .*set conditioning pose"),
        ({"ends": 0.5, "data": "still"}, "ends 0.5 has no effect: no episode of .* terminated"),
        ({"tokenizer_from": "checkpoint", "architecture": {"tokenizer": {"latent_channels": 4}}},
         "architecture cannot set tokenizer: that of"),
    ],
)  # fmt: skip
def test_training_refuses_what_it_would_ignore(
    changes: dict[str, Any],
    message: str,
    make_run: MakeRun,
    tmp_path: Path,
    debug_checkpoint: Path,
) -> None:
    from tests.training.test_train import constant_store

    if changes.get("data") == "still":
        changes = {**changes, "data": str(constant_store(tmp_path / "still"))}
    if "tokenizer_from" in changes:
        changes = {**changes, "tokenizer_from": str(debug_checkpoint)}
    if "objective" in changes:
        changes = {**changes, "objective": ObjectiveConfig(**changes["objective"])}
    with pytest.raises(ConfigError, match=message):
        train_world_model(make_run(**changes))
    assert not (Path(make_run().out) / "train_config.json").exists()


def test_options_that_several_runs_may_share_are_pointed_out(
    make_run: MakeRun, debug_checkpoint: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tokenizer's, where it comes from elsewhere; and the output says what data is used for."""
    run = make_run(tokenizer_from=str(debug_checkpoint), tokenizer=STAGE)
    folder = train_world_model(run)
    said = capsys.readouterr().err
    assert "tokenizer.steps 7 has no effect: the tokenizer of tokenizer_from is used as it" in said
    assert "data: 183 frames of 3 episodes; every frame with one before it" in said
    assert "ends: 3 episodes terminated; 25% of windows end there" in said
    assert "rewards are continuous, on the grid 0, " in said
    card = (folder / "card.md").read_text("utf-8")
    assert "# A world model of Counting-v0" in card and "rewards are continuous" in card
    assert json.loads((folder / "config.json").read_text("utf-8"))["provenance"]["episodes"] == 3
