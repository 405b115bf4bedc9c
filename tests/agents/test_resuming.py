"""An agent's training that was killed and resumed is, bit for bit, the training that was not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamenv import agents
from dreamenv.agents import AgentConfig, callbacks
from dreamenv.agents.loading import load_sb3
from dreamenv.agents.repeatable import RepeatableEpisodes
from dreamenv.core.errors import CheckpointError, FolderInUseError
from dreamenv.core.files import UNFINISHED
from dreamenv.core.locks import hold_folder
from tests.agents.colour_env import ColourEnv
from tests.agents.conftest import SMALL

MakeConfig = Callable[..., AgentConfig]
ROOT = Path(__file__).parents[2]
RUNS: dict[str, dict[str, Any]] = {
    "a real environment": {"env": "RandomColour-v0"},
    "several real environments": {"env": "RandomColour-v0", "num_envs": 2},
    "vectors": {"env": "CartPole-v1"},
    "dreams": {"env": "DreamEnv-v0", "num_envs": 2, "env_kwargs": {"horizon": 5}},
    "dreams with memory": {
        "env": "DreamEnv-v0", "env_kwargs": {"observation": "memory", "horizon": 5},
    },
    "memory alone": {
        "env": "DreamEnv-v0", "only_memory": True,
        "env_kwargs": {"observation": "memory", "horizon": 5, "reward": "sampled"},
    },
    "memory of a real environment": {"env": "counting_env:FreshCounting-v0", "memory_from": ""},
}  # fmt: skip
"""Episodes are under way wherever these runs are cut: they last 5 steps, or whatever it takes."""


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


def killed_in(name: str, at: int, config: AgentConfig, when: str = "after") -> None:
    """Train, and die before or after the call of `callbacks.NAME` at step `at`."""
    before = getattr(callbacks, name)

    def deadly(model: PPO, *rest: Any, **more: Any) -> Any:
        result = before(model, *rest, **more) if when == "after" else None
        if model.num_timesteps == at:
            raise Killed
        return before(model, *rest, **more) if when == "before" else result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, name, deadly)
        with pytest.raises(Killed):
            agents.train_agent(config)


def assert_same_agent(one: Path, other: Path, algo: str) -> None:
    here, there = load_sb3(one), load_sb3(other)
    assert type(here) is type(there) is (RecurrentPPO if algo == "recurrent_ppo" else PPO)
    assert here.num_timesteps == there.num_timesteps
    for part in ("policy", "policy.optimizer"):
        compare(here.get_parameters()[part], there.get_parameters()[part])
    assert [e["r"] for e in here.ep_info_buffer] == [e["r"] for e in there.ep_info_buffer]


def compare(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            compare(one[key], other[key])
    else:
        assert one == other


def logged(folder: Path) -> dict[str, list[int]]:
    """The steps under every tag of a run's charts."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.scalars.Keys()}


@pytest.mark.parametrize(
    ("name", "algo"),
    [(name, "ppo") for name in RUNS]
    + [(name, "recurrent_ppo") for name in ("several real environments", "dreams")],
)
def test_a_killed_training_goes_on_exactly(
    name: str, algo: str, config: MakeConfig, tmp_path: Path, debug_checkpoint: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Processes would do the same and take seconds to begin.
    monkeypatch.setattr("dreamenv.agents.envs.SubprocVecEnv", DummyVecEnv)
    num_envs = RUNS[name].get("num_envs", 1)
    settings = {"algo": algo, "steps": 24 * num_envs, "save_every": 8, **RUNS[name]}
    settings["hyperparameters"] = SMALL | {"n_steps": 8, "batch_size": 8}
    if "DreamEnv" in settings["env"]:
        settings["env_kwargs"] = {"checkpoint": str(debug_checkpoint), **settings["env_kwargs"]}
    if "memory_from" in settings:
        settings["memory_from"] = str(debug_checkpoint)
    whole = agents.train_agent(config(**settings))
    cut = {**settings, "out": tmp_path / "cut"}
    killed_in("save_model", 8 * num_envs, config(**cut))
    torch.rand(3), np.random.rand(3), random.random()  # another process has drawn other numbers
    resumed = agents.train_agent(config(**cut, resume=True))
    assert f"goes on after step {8 * num_envs}, exactly" in capsys.readouterr().err
    assert_same_agent(whole, resumed, algo)


@pytest.mark.parametrize(("name", "when"), [("save_episodes", "after"), ("save_model", "before")])
def test_killed_between_the_two_files_of_a_save(
    name: str, when: str, config: MakeConfig, tmp_path: Path
) -> None:
    """The agent of the save before is found with its own episodes, and evaluated once per step."""
    settings = {"env": "RandomColour-v0", "steps": 320, "save_every": 64, "eval_every": 64}
    settings |= {"eval_episodes": 1, "keep_every": 64}
    whole = agents.train_agent(config(**settings))
    cut = {**settings, "out": tmp_path / "cut"}
    killed_in(name, 192, config(**cut), when)
    resumed = agents.train_agent(config(**cut, resume=True))
    assert_same_agent(whole, resumed, "ppo")
    assert [p.name for p in (resumed.parent / "resume").iterdir()] == ["step_000000320"]
    assert lines(resumed.parent) == lines(whole.parent)
    assert logged(resumed.parent) == logged(whole.parent)


def test_saved_rarely_and_killed_late_no_step_stands_twice(
    config: MakeConfig, tmp_path: Path
) -> None:
    settings = {"env": "RandomColour-v0", "steps": 448, "save_every": 256, "eval_every": 64}
    settings |= {"eval_episodes": 1, "keep_every": 64}
    whole = agents.train_agent(config(**settings))
    cut = {**settings, "out": tmp_path / "cut"}
    killed_in("evaluate", 192, config(**cut))  # no agent was saved yet
    killed_in("evaluate", 384, config(**cut, resume=True))
    (tmp_path / "cut" / f".agent.safetensors.12345678{UNFINISHED}").touch()
    agents.train_agent(config(**cut, resume=True))
    assert lines(tmp_path / "cut") == lines(whole.parent)
    assert logged(tmp_path / "cut") == logged(whole.parent)
    kept = [sorted(p.name for p in (run / "kept").iterdir()) for run in (whole.parent, cut["out"])]
    assert kept[0] == kept[1]
    assert not list((tmp_path / "cut").glob(f".*{UNFINISHED}"))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "eval.jsonl").read_text("utf-8").splitlines()]


def test_what_cannot_be_brought_back_begins_anew_and_is_named(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an environment is no function of seed and actions, or the files are gone."""
    path = agents.train_agent(config(env="RandomColour-v0", steps=100, num_envs=1))
    with monkeypatch.context() as patch:
        patch.setattr(ColourEnv, "_show", lambda self: np.full((36, 36, 3), 9, np.uint8))
        patch.setattr(ColourEnv, "colour", 0, raising=False)
        agents.train_agent(config(env="RandomColour-v0", steps=192, resume=True))
    told = "not bit for bit as if it had never stopped: 1 of 1 environments show something else"
    assert told in capsys.readouterr().err
    (state,) = path.parent.glob("resume/*/training.pt")
    state.write_bytes(b"torn")
    agents.train_agent(config(env="RandomColour-v0", steps=256, resume=True))
    assert "its episodes cannot be read" in capsys.readouterr().err
    for state in path.parent.glob("resume/*/training.pt"):
        state.unlink()
    agents.train_agent(config(env="RandomColour-v0", steps=320, resume=True))
    assert "it was saved without its episodes" in capsys.readouterr().err
    assert load_sb3(path).num_timesteps == 320


def test_the_second_training_in_a_folder_is_refused_at_once(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamenv.agents.training.make_vec_env", None)  # nothing is made before
    for resume in (False, True):
        with (
            hold_folder(config().out),
            pytest.raises(FolderInUseError, match=r"another run is at work in .*: process \d+ on"),
        ):
            agents.train_agent(config(resume=resume))


def test_a_torn_evaluation_is_made_up_for_and_a_damaged_one_named(config: MakeConfig) -> None:
    settings = {"eval_every": 64, "eval_episodes": 1}
    agents.train_agent(config(steps=128, **settings))
    path = config().out / "eval.jsonl"
    whole = path.read_text("utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    agents.train_agent(config(steps=128, resume=True, **settings))
    assert [line["step"] for line in lines(path.parent)] == [64, 128]
    path.write_text("{" + whole, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"line 1 of .*eval.jsonl is damaged.*delete that"):
        agents.train_agent(config(steps=192, resume=True, **settings))


def test_an_episode_is_played_again_up_to_where_it_was() -> None:
    env, twin = (RepeatableEpisodes(ColourEnv(random=True)) for _ in range(2))
    first, _ = env.reset(seed=7)
    assert np.array_equal(first, ColourEnv(random=True).reset(seed=7)[0])
    for action in (0, 1, 1):
        env.step(action)
    env.reset()  # with a seed drawn by the first
    for action in (2, 0):
        env.step(action)
    twin.set_number(1)
    assert twin.play_again([{}, env.episode_so_far()])
    for _ in range(2):
        for _ in range(5):
            assert np.array_equal(env.step(0)[0], twin.step(0)[0])
        assert np.array_equal(env.reset()[0], twin.reset()[0])


LONG = """
import sys
from pathlib import Path
from dreamenv import agents
from tests.agents.conftest import SMALL, small_config
small = SMALL | {"n_steps": 8, "batch_size": 8}
agents.train_agent(small_config(out=Path(sys.argv[1]), resume=True, env="RandomColour-v0",
    steps=400, save_every=8, eval_every=16, eval_episodes=1, hyperparameters=small))
"""


def last_saved(out: Path) -> int:
    return max((int(p.name.removeprefix("step_")) for p in out.glob("resume/step_*")), default=0)


def test_killed_at_random_moments_with_nothing_to_put_in_order(
    config: MakeConfig, tmp_path: Path
) -> None:
    """By SIGKILL, in a process of its own, wherever it may be."""
    out, chance = tmp_path / "cut", random.Random(0)
    for saved in (8, 160):
        process = subprocess.Popen([sys.executable, "-c", LONG, str(out)], cwd=ROOT)
        while process.poll() is None and last_saved(out) < saved:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
    settings = {"env": "RandomColour-v0", "steps": 400, "save_every": 8, "eval_every": 16}
    settings |= {"eval_episodes": 1, "hyperparameters": SMALL | {"n_steps": 8, "batch_size": 8}}
    whole = agents.train_agent(config(**settings))
    resumed = agents.train_agent(config(**settings, out=out, resume=True))
    assert_same_agent(whole, resumed, "ppo")
    assert lines(out) == lines(whole.parent)
    assert logged(out) == logged(whole.parent)
    assert not list(out.rglob(f".*{UNFINISHED}"))
