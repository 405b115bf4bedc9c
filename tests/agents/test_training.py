"""Agents learn, are evaluated and recorded, and continue where they stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamenv import agents
from dreamenv.agents import AgentConfig, callbacks, saving
from dreamenv.agents.loading import load_sb3
from dreamenv.core.errors import ConfigError, DreamEnvError
from tests.agents.colour_env import EPISODE_LENGTH, ColourEnv

MakeConfig = Callable[..., AgentConfig]
ALGORITHMS = ["ppo", "recurrent_ppo"]


def evaluations(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]


class Interrupted(KeyboardInterrupt):
    """Stands for a process killed at a moment the test chooses."""


def interrupt_after_saving_at(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill the next training right after it has saved at `steps`."""

    def save_and_die(model: PPO, path: Path) -> None:
        saving.save_model(model, path)
        if model.num_timesteps == steps:
            monkeypatch.setattr(callbacks, "save_model", saving.save_model)
            raise Interrupted

    monkeypatch.setattr(callbacks, "save_model", save_and_die)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_training_improves(trained: dict[str, Path], algo: str) -> None:
    lines = evaluations(trained[algo])
    assert lines[-1]["return_mean"] > 0.8 * EPISODE_LENGTH
    assert lines[-1]["return_mean"] > lines[0]["return_mean"]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_evaluation_log(trained: dict[str, Path], algo: str) -> None:
    lines = evaluations(trained[algo])
    assert [line["step"] for line in lines] == [128, 256, 384, 512]
    for line in lines:
        returns = np.array(line["returns"])
        assert line["env"] == "RandomColour-v0" and line["seed"] == 10_000
        assert line["episodes"] == len(returns) == 3
        assert line["lengths"] == [EPISODE_LENGTH] * 3
        assert line["return_mean"] == pytest.approx(returns.mean())
        assert line["return_standard_error"] == pytest.approx(returns.std(ddof=1) / np.sqrt(3))


def test_tensorboard_holds_training_and_evaluation(trained: dict[str, Path]) -> None:
    events = EventAccumulator(str(trained["ppo"] / "tensorboard"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    assert {"rollout/ep_rew_mean", "train/learning_rate", "time/fps"} <= set(scalars)
    logged = [(event.step, event.value) for event in events.Scalars("eval/return_mean")]
    lines = evaluations(trained["ppo"])
    assert logged == [(line["step"], pytest.approx(line["return_mean"])) for line in lines]
    assert [event.value for event in events.Scalars("eval/episodes")] == [3] * 4
    assert [event.step for event in events.Images("eval/video")] == [128, 256, 384, 512]


def test_videos_show_what_the_agent_saw(trained: dict[str, Path]) -> None:
    names = sorted(path.name for path in (trained["ppo"] / "videos").iterdir())
    assert names == [f"step_{step:09d}.gif" for step in (128, 256, 384, 512)]
    video = Image.open(trained["ppo"] / "videos" / names[-1])
    video.seek(0)
    colour = video.convert("RGB").getpixel((5, 5))
    assert colour in [(255, 0, 0), (0, 0, 255)]


def test_evaluation_leaves_training_alone(config: MakeConfig, tmp_path: Path) -> None:
    plain = agents.train_agent(config(env="RandomColour-v0", steps=256))
    watched = agents.train_agent(
        config(env="RandomColour-v0", steps=256, out=tmp_path / "watched", eval_every=64)
    )
    assert_same_weights(load_sb3(plain), load_sb3(watched))
    assert len(evaluations(watched.parent)) == 4


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_resuming_continues_exactly(
    algo: str, config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the episodes are alike and end with the rollout, resuming changes not one bit."""
    settings = {"algo": algo, "steps": 256, "save_every": 64, "eval_every": 128}
    whole = agents.train_agent(config(**settings))
    interrupt_after_saving_at(128, monkeypatch)
    with pytest.raises(Interrupted):
        agents.train_agent(config(**settings, out=tmp_path / "cut"))
    assert load_sb3(tmp_path / "cut" / "agent.safetensors").num_timesteps == 128
    resumed = agents.train_agent(config(**settings, out=tmp_path / "cut", resume=True))

    one, other = load_sb3(whole), load_sb3(resumed)
    assert other.num_timesteps == one.num_timesteps == 256
    assert learning_rate(other) == learning_rate(one)
    assert_same_weights(one, other)
    # Killed between saving and evaluating: the evaluation is made up for, and none is doubled.
    assert evaluations(resumed.parent) == evaluations(whole.parent)


def test_copies_along_training_are_kept_with_their_seconds(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"keep_every": 100, "save_every": 64}
    interrupt_after_saving_at(192, monkeypatch)
    with pytest.raises(Interrupted):
        agents.train_agent(config(**settings, steps=256))
    path = agents.train_agent(config(**settings, steps=256, resume=True))
    kept = sorted((path.parent / "kept").iterdir())
    # Of the updates every 64 steps, those that pass a multiple of 100, and the last.
    names = [f"step_{step:09d}.safetensors" for step in (128, 256)]
    assert [file.name for file in kept] == names
    agents_kept = [load_sb3(file) for file in (*kept, path)]
    assert [agent.num_timesteps for agent in agents_kept] == [128, 256, 256]
    seconds = [agent.training_seconds for agent in agents_kept]
    assert 0 < seconds[0] < seconds[1] <= seconds[2]
    assert_same_weights(*agents_kept[1:])


def test_time_spent_on_evaluation_is_no_time_of_training(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10_000))  # each look at the clock takes a second
    clock = types.SimpleNamespace(perf_counter=lambda: float(next(now)))
    monkeypatch.setattr(callbacks, "time", clock)

    def look_often(*_: object, **__: object) -> None:
        for _ in range(100):
            clock.perf_counter()

    monkeypatch.setattr(callbacks.EvaluateAgent, "act", look_often)
    plain = load_sb3(agents.train_agent(config(steps=128, eval_every=64)))
    assert plain.training_seconds == pytest.approx(2)


def learning_rate(model: PPO) -> float:
    """The rate of the latest update."""
    return model.policy.optimizer.param_groups[0]["lr"]


def assert_same_weights(one: PPO, other: PPO) -> None:
    here, there = one.get_parameters(), other.get_parameters()
    for name, tensor in here["policy"].items():
        assert torch.equal(tensor, there["policy"][name]), name
    for index, moments in here["policy.optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, there["policy.optimizer"]["state"][index][name]), name


def test_resuming_with_more_steps_extends(config: MakeConfig) -> None:
    path = agents.train_agent(config(steps=64))
    first = load_sb3(path)
    assert first.num_timesteps == 64
    assert learning_rate(first) == pytest.approx(2.5e-5)
    agents.train_agent(config(steps=128, resume=True))
    assert load_sb3(path).num_timesteps == 128
    agents.train_agent(config(steps=128, resume=True))
    assert load_sb3(path).num_timesteps == 128


def test_resumed_environments_do_not_repeat_their_first_episodes(config: MakeConfig) -> None:
    def colours() -> list[bool]:
        frames = [env.reset()] + [env.step([0])[0] for _ in range(EPISODE_LENGTH - 1)]
        return [bool(frame[0, 0, 0, 0]) for frame in frames]

    path = agents.train_agent(config(env="RandomColour-v0", steps=64))
    env = DummyVecEnv([lambda: ColourEnv(random=True)])
    env.seed(0)
    at_the_start = colours()
    env.seed(0)
    assert colours() == at_the_start
    saving.load_model("ppo", path, env, "cpu")
    assert colours() != at_the_start


def test_an_existing_folder_is_not_overwritten(config: MakeConfig, tmp_path: Path) -> None:
    path = agents.train_agent(config(steps=64))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="already exists.*--resume"):
        agents.train_agent(config(steps=64))
    with pytest.raises(ConfigError, match="another run: seed was 0, now 1"):
        agents.train_agent(config(steps=64, seed=1, resume=True))
    assert path.read_bytes() == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match="no agent run that could be continued"):
        agents.train_agent(config(out=tmp_path / "photos", resume=True))


def test_resume_starts_where_there_is_nothing_yet(config: MakeConfig) -> None:
    assert load_sb3(agents.train_agent(config(steps=64, resume=True))).num_timesteps == 64


def test_a_mistake_leaves_no_folder(config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="does not take the arguments"):
        agents.train_agent(config(env_kwargs={"colour": "green"}))
    assert not config().out.exists()


def test_a_full_disk_keeps_the_agent_saved_before(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = agents.train_agent(config(steps=64))
    before = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "atomic_write_bytes", no_space)
    with pytest.raises(DreamEnvError, match="No space left on device.*--resume"):
        agents.train_agent(config(steps=128, resume=True))
    assert path.read_bytes() == before


def test_worker_processes(config: MakeConfig) -> None:
    """Two processes train, both die at their 100th step; the agent saved before remains."""
    settings = {"num_envs": 2, "save_every": 128, "steps": 256}
    with pytest.raises(DreamEnvError, match="process of an environment died.*--resume"):
        agents.train_agent(config(**settings, env="DyingColour-v0"))
    path = config().out / "agent.safetensors"
    assert load_sb3(path).num_timesteps == 128


def test_saved_agents_load_in_plain_stable_baselines(zipped: dict[str, Path]) -> None:
    program = """
import sys
import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
frames = np.zeros((2, 36, 36, 3), np.uint8)
for algorithm, path in ((PPO, sys.argv[1]), (RecurrentPPO, sys.argv[2])):
    actions, _ = algorithm.load(path).predict(frames)
    assert actions.shape == (2,)
assert not {"dreamenv"} & set(sys.modules), "this package was needed"
"""
    paths = [str(zipped[algo]) for algo in ALGORITHMS]
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, *paths], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "Could not deserialize" not in result.stderr


def test_saved_agents_name_no_path_of_this_machine(trained: dict[str, Path]) -> None:
    for folder in trained.values():
        data = (folder / "agent.safetensors").read_bytes()
        assert b"num_timesteps" in data and str(folder).encode() not in data
        assert str(folder) not in (folder / "config.json").read_text()


def test_every_configuration_key_is_read(config: MakeConfig) -> None:
    read: set[str] = set()

    class Recording(AgentConfig):
        def __getattribute__(self, name: str) -> object:
            read.add(name)
            return super().__getattribute__(name)

        def to_json(self) -> dict[str, object]:
            before = set(read)
            described = super().to_json()
            read.clear()
            read.update(before)
            return described

    settings = {"eval_every": 64, "eval_episodes": 1, "eval_env": "RandomColour-v0"}
    agents.train_agent(config(**settings, steps=64))
    plain = config(**settings, steps=128, resume=True)
    recording = Recording(**{entry.name: getattr(plain, entry.name) for entry in fields(plain)})
    read.clear()
    agents.train_agent(recording)
    assert {entry.name for entry in fields(AgentConfig)} <= read


def test_evaluation_in_another_environment(config: MakeConfig) -> None:
    settings = {"steps": 64, "eval_every": 64, "eval_episodes": 1}
    agents.train_agent(config(**settings, eval_env="RandomColour-v0"))
    (line,) = evaluations(config().out)
    assert line["env"] == "RandomColour-v0"
    assert line["return_standard_error"] is None


def test_evaluation_environment_must_have_the_same_spaces(
    config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="observation_space of CartPole-v1 is .*, but Colour-v0 has"
    ):
        agents.train_agent(config(eval_env="CartPole-v1", eval_every=64))
    with pytest.raises(ConfigError, match="does not observe images"):
        agents.train_agent(config(env="CartPole-v1", eval_every=64, video=True))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_other_observations_than_images(algo: str, config: MakeConfig) -> None:
    agents.train_agent(config(algo=algo, env="CartPole-v1", steps=64))


def test_progress_bar(
    config: MakeConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    agents.train_agent(config(steps=100, progress=True))
    assert "100/100" in capsys.readouterr().err.replace(".0", "")
