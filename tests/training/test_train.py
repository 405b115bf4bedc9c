"""Whole runs on every kind of environment, what they leave behind, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv import cli
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream.env import DreamEnv
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.curriculum import Curriculum
from dreamenv.training.fit_config import model_config
from dreamenv.training.held_out import held_out_clips
from dreamenv.training.train import train_world_model
from dreamenv.world_model import config as model_configs
from dreamenv.world_model.checkpoint import read_config
from dreamenv.world_model.objective import ObjectiveConfig
from dreamenv.world_model.presets import preset
from tests.conftest import write_counting_store
from tests.training.conftest import MakeRun


def arguments(run: TrainConfig) -> list[str]:
    """The command line of a run."""
    flat: dict[str, Any] = {}
    for name, value in dataclasses.asdict(run).items():
        for key, inner in value.items() if isinstance(value, dict) else [("", value)]:
            flat[f"{name}.{key}" if key else name] = inner
    options = []
    for name, value in flat.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options.append(f"--{option}={value}")
    return options


def run_command(run: TrainConfig) -> int:
    return cli.main(["train", *arguments(run)])


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_the_command_trains_a_model_that_dreams(
    kind: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str], few_clips: None,
) -> None:  # fmt: skip
    store = request.getfixturevalue("counting_store" if kind == "discrete" else "box_store")
    run = make_run(data=str(store), evaluate_every=3)
    assert run_command(run) == 0
    assert f"DreamEnv(checkpoint='{run.out}')" in capsys.readouterr().out

    config, provenance = read_config(run.out)
    assert provenance["env_id"] == "Counting-v0"
    assert (provenance["episodes"], provenance["environment_steps"]) == (3, 180)
    assert provenance["dynamics_updates"] == 6
    assert config.actions.discrete == (kind == "discrete")
    env = DreamEnv(run.out, dtype="float32", horizon=2)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(2)]
    assert not any(ends[0]) and any(ends[1])  # by the horizon, or because the model says so
    assert env.vector.loaded.spawns.frames.shape == (3, 5, 64, 64, 3)

    records = [json.loads(line) for line in (Path(run.out) / "metrics.jsonl").open()]
    steps = {(r["stage"], r["kind"]): [] for r in records}  # type: ignore[var-annotated]
    for record in records:
        steps[record["stage"], record["kind"]].append(record["step"])
    assert steps == {
        ("tokenizer", "train"): [2, 4],
        ("tokenizer", "held_out"): [3, 4],
        ("dynamics", "train"): [2, 4, 6],
        ("dynamics", "held_out"): [3, 6],
    }
    last = records[-1]
    assert all(np.isfinite(last[f"psnr_step_{k}"]) for k in (1, 2, 4, 8, 16))
    waiting = [r["waiting_for_data"] for r in records if r["kind"] == "train"]
    assert all(0 <= share <= 1 for share in waiting)
    assert len(list((Path(run.out) / "tensorboard").iterdir())) >= 1
    history = [json.loads(line) for line in (Path(run.out) / "history.jsonl").open()]
    assert [h["stage"] for h in history] == ["tokenizer", "dynamics"]


def test_errors_of_the_command_are_one_line(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(make_run(data="/nowhere/at/all")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "/nowhere/at/all" in error and "Traceback" not in error
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--data", "a", "--held-out", "b", "--out", "c", "--dtype", "int8"])
    assert caught.value.code == 2 and "float32 or bfloat16" in capsys.readouterr().err

    def stopped(_: TrainConfig) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.train, "train_world_model", stopped)
    assert run_command(make_run()) == 130
    assert "run the same command again" in capsys.readouterr().err


def recorded(cls: type, seen: set[tuple[str, str]]) -> Callable[[Any, str], Any]:
    """A `__getattribute__` that notes which fields are read, other than to validate or save."""
    import sys

    names = {field.name for field in dataclasses.fields(cls)}
    of_curriculum = "window_at", "segments_at", "objective_at"
    own = {"__post_init__", "_require_positive", "to_dict", "rate", "curriculum", *of_curriculum}

    def get(self: Any, name: str) -> Any:
        if name in names:
            caller = sys._getframe(1).f_code
            library = caller.co_filename.endswith(("dataclasses.py", "<string>"))
            if caller.co_name in ("rate", *of_curriculum) or not (library or caller.co_name in own):
                seen.add((cls.__name__, name))
        return object.__getattribute__(self, name)

    return get


def test_every_field_of_every_configuration_is_read(
    make_run: MakeRun, box_store: Path, pose_store: Path, finished_run: TrainConfig,
    monkeypatch: pytest.MonkeyPatch, quick: None,
) -> None:  # fmt: skip
    """Train and dream with both action kinds and both schemes, and note what is asked for."""
    kinds = [
        model_configs.ActionConfig, model_configs.RewardConfig, model_configs.TokenizerConfig,
        model_configs.DynamicsConfig, model_configs.SamplerConfig, model_configs.WorldModelConfig,
        StageConfig, ObjectiveConfig, TrainConfig, Curriculum,
    ]  # fmt: skip
    seen: set[tuple[str, str]] = set()
    runs = [
        make_run("forcing", objective=ObjectiveConfig(scheme="diffusion_forcing")),
        make_run(
            "clean", data=str(box_store), self_forcing_from=0.0,
            objective=ObjectiveConfig(self_forcing=0.5),
        ),
        make_run("pose", data=str(pose_store), conditioning="pose"),
        make_run("growing", window_from=4),
        make_run("jumping", weights_from=finished_run.out, shortcut_passes=4),
    ]  # fmt: skip
    with monkeypatch.context() as patch:
        for kind in kinds:
            patch.setattr(kind, "__getattribute__", recorded(kind, seen), raising=False)
        for run in runs:
            assert run_command(run) == 0
            env = DreamEnv(run.out)
            env.reset(seed=0)
            env.step(env.action_space.sample())
    fields = {(kind.__name__, f.name) for kind in kinds for f in dataclasses.fields(kind)}
    assert sorted(fields - seen) == []


def test_rewards_of_a_store_become_the_models_values(tmp_path: Path, counting_store: Path) -> None:
    """Few values are taken for all there are; many become a grid between the extremes."""
    source = RolloutStore(counting_store)
    many = model_config(TrainConfig("", "", "", preset="debug"), source, source).rewards
    assert not many.exact and (many.values[0], many.values[-1]) == (0.0, 58.0)
    assert 2 <= len(many.values) <= 32
    few = tmp_path / "few"
    episode = source.read(0)
    with RolloutWriter(few, "Few-v0", source.observation_space, source.action_space) as writer:
        writer.append(dataclasses.replace(episode, reward=np.sign(episode.reward - 4)))
    store = RolloutStore(few)
    rewards = model_config(TrainConfig("", "", "", preset="debug"), store, store).rewards
    assert rewards.exact and rewards.values == (-1.0, 0.0, 1.0)


def constant_store(path: Path, env_id: str = "Still-v0", steps: int = 60) -> Path:
    """Episodes in which nothing ever happens."""
    from gymnasium.spaces import Box, Discrete

    last = np.arange(steps) == steps - 1
    episode = Episode(
        observation=np.full((steps + 1, 8, 8, 1), 100, np.uint8),
        action=np.zeros(steps, np.int64),
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, np.bool_),
        truncated=last,
    )
    with RolloutWriter(path, env_id, Box(0, 255, (8, 8, 1), np.uint8), Discrete(1)) as writer:
        writer.append(episode)
    return path


def test_a_world_that_stands_still_trains_and_dreams(
    tmp_path: Path, make_run: MakeRun, quick: None
) -> None:
    """One grey frame, one action, one reward: every scale is zero and nothing may divide by it."""
    store = str(constant_store(tmp_path / "still"))
    folder = train_world_model(make_run(data=store))
    assert read_config(folder)[0].frame_channels == 1
    from dreamenv.world_model.checkpoint import load_world_model

    model = load_world_model(folder)
    assert all(v.isfinite().all() for v in model.state_dict().values())
    clips = held_out_clips(RolloutStore(store), model.config.frame_size)
    state, outcome = model.observe(model.initial_state(16), clips["frames"], clips["actions"])
    frame, _, _ = model.imagine(state, torch.zeros(16).long(), torch.zeros(model.noise_shape(16)))
    assert frame.isfinite().all() and outcome.continuation.isfinite().all()


def test_stores_of_different_environments_are_refused(
    tmp_path: Path, make_run: MakeRun, box_store: Path
) -> None:
    with pytest.raises(RolloutError, match="the action_space of .* is Discrete.* is Box"):
        train_world_model(make_run(held_out=str(box_store)))
    other = constant_store(tmp_path / "other")
    with pytest.raises(RolloutError, match="the env_id of .* is Counting-v0 .* is Still-v0"):
        train_world_model(make_run(held_out=str(other)))
    grey = write_counting_store(tmp_path / "grey", channels=1)
    with pytest.raises(RolloutError, match="the observation_space of"):
        train_world_model(make_run(held_out=str(grey)))
    assert not Path(make_run().out).exists()


def test_short_episodes_train_and_dream(tmp_path: Path, make_run: MakeRun, few_clips: None) -> None:
    """Windows are padded; clips and spawns are as long as half of the episodes allow."""
    short = write_counting_store(tmp_path / "short", episodes=4, steps=7)
    write_counting_store(short, episodes=2, steps=2)
    run = make_run(data=str(short), window=12, spawn_frames=32)
    assert run_command(run) == 0
    spawns = DreamEnv(run.out).vector.loaded.spawns
    assert spawns.frames.shape[1] == 7  # of eight frames; from the last one nothing goes on
    last = [json.loads(line) for line in (Path(run.out) / "metrics.jsonl").open()][-1]
    found = {key for key in last if key.startswith("psnr_step")}
    assert found == {"psnr_step_1", "psnr_step_2"}  # of clips of eight frames, five watched


def test_actions_without_bounds_are_refused(tmp_path: Path) -> None:
    from gymnasium.spaces import Box

    frames, space = Box(0, 255, (8, 8, 3), np.uint8), Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(RolloutError, match="the box has no bounds on some side"):
        RolloutWriter(tmp_path / "s", "Far-v0", frames, space)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "float32 or bfloat16, not 'float16'"),
        ({"window": 1}, "at least 2 frames"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"spawns": 0}, "spawns must be at least 1"),
    ],
)
def test_impossible_runs_are_refused(
    changes: dict[str, Any], message: str, make_run: MakeRun
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_run(**changes)


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"decay": 2.0}, {"ema": 1.0}]
)
def test_impossible_stages_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a stage"):
        StageConfig(**{"steps": 1, "batch": 1, "learning_rate": 1e-3, **changes})


def test_an_unknown_preset_or_device_is_refused_before_anything_is_written(
    make_run: MakeRun,
) -> None:
    with pytest.raises(ConfigError, match="unknown preset 'smal'; there are debug"):
        train_world_model(make_run(preset="smal"))
    with pytest.raises(ConfigError, match="no torch device 'abacus'"):
        train_world_model(make_run(device="abacus"))
    assert not Path(make_run().out).exists()


def test_the_learning_rate_rises_stays_and_falls() -> None:
    stage = StageConfig(steps=100, batch=1, learning_rate=1.0, warmup=10, decay=0.5)
    rates = [stage.rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 and rates[49] == 1.0
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.02)
    assert all(rate > 0 for rate in rates)
    assert StageConfig(10, 1, 1.0, warmup=0, decay=0.0).rate(9) == 1.0


def test_a_box_of_several_dimensions_is_flattened(tmp_path: Path) -> None:
    """Actions (2, 2) become 4 numbers, in training and in held-out clips alike."""
    from gymnasium.spaces import Box

    rng = np.random.default_rng(0)
    episode = Episode(
        observation=rng.integers(0, 256, (51, 8, 8, 3), dtype=np.uint8),
        action=rng.uniform(0, 1, (50, 2, 2)).astype(np.float32),
        reward=np.zeros(50, np.float32),
        terminated=np.arange(50) == 49,
        truncated=np.zeros(50, np.bool_),
    )
    frames, actions = Box(0, 255, (8, 8, 3), np.uint8), Box(0, 1, (2, 2), np.float32)
    with RolloutWriter(tmp_path / "s", "Square-v0", frames, actions) as writer:
        writer.append(episode)
    store = RolloutStore(tmp_path / "s")
    actions = model_config(TrainConfig("", "", "", preset="debug"), store, store).actions
    assert (actions.low, actions.high) == ((0.0,) * 4, (1.0,) * 4)
    clips = held_out_clips(store, preset("debug").frame_size)
    assert clips["actions"].shape == (16, 48, 4)
