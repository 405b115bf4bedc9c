"""Environments as users have them, all the way: collect, inspect, train, dream, agent, gap.

One shows its frame among other observations and takes vectors of choices; the other shows floats,
channels first, and takes nested actions, for which Stable-Baselines3 has no agents.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from counting_env import SPACES, CameraEnv, frame_of
from gymnasium.spaces import Box

from dreamenv import DreamEnv, GapConfig, TrainConfig, WithFrames, WithMemory, measure_gap
from dreamenv.agents import AgentConfig, train_agent
from dreamenv.cli import main
from dreamenv.core.errors import ConfigError
from dreamenv.core.frames import fit_frames
from dreamenv.training.config import StageConfig
from dreamenv.training.train import train_world_model
from dreamenv.world_model.checkpoint import read_config

ENV = "counting_env:Camera-v0"
LENGTH = 30


class Case(NamedTuple):
    """An environment, and what is dreamt of it."""

    form: str
    actions: str
    key: str
    size: tuple[int, int]

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"form": self.form, "actions": self.actions, "length": LENGTH}


CASES = {
    "choices": Case("dict", "buttons", "camera/rgb", (40, 44)),
    "nested": Case("floats", "dict", "", (24, 24)),
}


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What a tiny training of a case makes of rollouts that the command collected."""
    made: dict[str, Path] = {}

    def checkpoint(name: str) -> Path:
        if name in made:
            return made[name]
        case, folder = CASES[name], tmp_path_factory.mktemp(name)
        for seed, store in enumerate(("train", "held_out")):
            command = ["collect", "--env", ENV, "--env-kwargs", json.dumps(case.kwargs)]
            command += ["--frames", str(2 * LENGTH), "--seed", str(seed), "--policy", "uniform"]
            command += ["--out", str(folder / store)]
            if case.key:
                command += ["--image-key", case.key]
            assert main(command) == 0
        train_world_model(
            TrainConfig(
                data=str(folder / "train"),
                held_out=str(folder / "held_out"),
                out=str(folder / "run"),
                preset="debug",
                frame_size=case.size,
                window=6,
                dtype="float32",
                tokenizer=StageConfig(steps=2, batch=4, learning_rate=1e-3),
                dynamics=StageConfig(steps=2, batch=2, learning_rate=1e-3),
                spawns=3,
                spawn_frames=5,
            )
        )
        made[name] = folder / "run"
        return made[name]

    return checkpoint


EVERY = pytest.mark.parametrize("name", CASES)


@EVERY
def test_the_dream_has_the_actions_and_the_frames_that_were_recorded(
    checkpoint_of: Any, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case, folder = CASES[name], checkpoint_of(name)
    config, _ = read_config(folder)
    assert (config.frame_size, config.resize, config.image_key) == (case.size, "area", case.key)
    height, width = case.size
    line = f"8×8 pixels are resized to {height}×{width} (area averaging)"
    card = (folder / "card.md").read_text("utf-8")
    assert line in card
    assert not case.key or f"the entry {case.key!r} of the environment's observations" in card
    assert main(["inspect", str(folder.parent / "held_out")]) == 0
    assert (case.key or "float32 from 0 to 1") in capsys.readouterr().out
    env = gymnasium.make("DreamEnv-v0", checkpoint=folder, dtype="float32")
    assert env.action_space == SPACES[case.actions]
    assert env.observation_space == Box(0, 255, (*case.size, 3), np.uint8)
    env.reset(seed=0)
    env.action_space.seed(0)
    frame, reward, *_ = env.step(env.action_space.sample())
    assert frame in env.observation_space
    assert np.isfinite(reward)


@EVERY
def test_the_real_environment_is_shown_as_it_is_dreamt(checkpoint_of: Any, name: str) -> None:
    """To whoever plays it by hand, with memory and without: frame t is frame t, resized."""
    case, folder = CASES[name], checkpoint_of(name)
    shown = WithFrames(CameraEnv(**case.kwargs), folder)
    remembered = WithMemory(CameraEnv(**case.kwargs), folder, dtype="float32")
    assert shown.observation_space == DreamEnv(folder).observation_space
    frames = [shown.reset(seed=5)[0]]
    memories = [remembered.reset(seed=5)[0]]
    shown.action_space.seed(0)
    for _ in range(4):
        action = shown.action_space.sample()
        frames.append(shown.step(action)[0])
        memories.append(remembered.step(action)[0])
    for t, (frame, memory) in enumerate(zip(frames, memories, strict=True)):
        expected = fit_frames(frame_of(t, 5), case.size)
        np.testing.assert_array_equal(frame, expected)
        np.testing.assert_array_equal(memory["frame"], expected)


def test_an_agent_of_the_dream_plays_the_real_environment_as_it_is(
    checkpoint_of: Any, tmp_path: Path
) -> None:
    """Evaluated there while it trains, and in a gap report, whose spawns it reaches exactly."""
    case, folder = CASES["choices"], checkpoint_of("choices")
    agent = train_agent(
        AgentConfig(
            env="DreamEnv-v0",
            env_kwargs={"checkpoint": str(folder), "horizon": 8},
            eval_env=ENV,
            eval_env_kwargs=case.kwargs,
            out=tmp_path / "agent",
            steps=16,
            num_envs=1,
            hyperparameters={"n_steps": 16, "batch_size": 8, "features_dim": 8},
            eval_every=16,
            eval_episodes=1,
            progress=False,
        )
    )
    rows = (tmp_path / "agent" / "eval.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rows[-1])["lengths"] == [LENGTH]
    report = _gap(case, folder, (str(agent), "random"))
    assert len(report["agents"]) == 2


def test_nested_actions_are_played_in_both_worlds(checkpoint_of: Any) -> None:
    _gap(CASES["nested"], checkpoint_of("nested"), ("random", "sticky:0.5"))


def test_arguments_that_are_missing_are_told_and_not_taken_from_the_checkpoint(
    checkpoint_of: Any,
) -> None:
    """They could name a program, and a checkpoint may be a stranger's."""
    case, folder = CASES["nested"], checkpoint_of("nested")
    assert read_config(folder)[1]["env_kwargs"] == case.kwargs
    with pytest.raises(ConfigError, match="its rollouts were made with --real-kwargs") as caught:
        _gap(case._replace(actions="buttons"), folder, ("random",))
    assert json.dumps(case.kwargs, sort_keys=True) in str(caught.value)


def _gap(case: Case, folder: Path, agents: tuple[str, ...]) -> dict[str, Any]:
    report = measure_gap(
        GapConfig(
            agents=agents,
            real=ENV,
            real_kwargs=case.kwargs,
            dream="DreamEnv-v0",
            dream_kwargs={"checkpoint": str(folder), "dtype": "float32"},
            spawns=2,
            horizon=3,
            clips=0,
            latest_start=None,
            trust_agent=True,
            progress=False,
        )
    ).result
    assert report["spawns"]["exactly"] == 2
    assert report["real"]["frames"].startswith("frames of 8×8 pixels are resized to")
    return report
