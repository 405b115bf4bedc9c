"""From the command line to a configuration, a recipe and a model."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from dreamenv import agents, cli
from dreamenv.agents import AgentConfig, envs
from dreamenv.agents.loading import load_sb3
from dreamenv.agents.recipes import Recipe, build_model, make_recipe
from dreamenv.cli import options
from dreamenv.core.errors import ConfigError, MissingDependencyError
from tests.agents.colour_env import ColourEnv

MakeConfig = Callable[..., AgentConfig]


def parse(line: str) -> AgentConfig:
    return options.parse(AgentConfig, "dreamenv train-agent", line.split())


def test_command_line_defaults_are_those_of_the_configuration() -> None:
    assert parse("--env Colour-v0 --out runs/a") == AgentConfig("Colour-v0", Path("runs/a"))


def test_every_argument_arrives() -> None:
    config = parse(
        "--algo recurrent_ppo --env Colour-v0 --out runs/a --steps 1 --num-envs 2 --seed 3 "
        "--env-kwargs horizon=256 checkpoint=runs/model random=true --hyperparameters n_steps=64 "
        "--memory-from runs/model "
        "--eval-every 4 --eval-episodes 5 --eval-env Other-v0 --eval-env-kwargs size=7 "
        "--eval-seed 6 --video --save-every 8 --keep-every 7 --threads 9 --device cpu --resume "
        "--trust-agent "
        "--no-progress"
    )
    assert config == AgentConfig(
        algo="recurrent_ppo",
        env="Colour-v0",
        out=Path("runs/a"),
        steps=1,
        num_envs=2,
        seed=3,
        env_kwargs={"horizon": 256, "checkpoint": "runs/model", "random": True},
        hyperparameters={"n_steps": 64},
        memory_from="runs/model",
        eval_every=4,
        eval_episodes=5,
        eval_env="Other-v0",
        eval_env_kwargs={"size": 7},
        eval_seed=6,
        video=True,
        keep_every=7,
        save_every=8,
        threads=9,
        device="cpu",
        resume=True,
        trust_agent=True,
        progress=False,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algo": "a2c"}, "unknown algorithm 'a2c'"),
        ({"steps": 0}, "steps is 0, but must be at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"video": True}, "eval_every above 0"),
        ({"eval_env_kwargs": {"size": 7}}, "no effect without eval_env"),
        ({"hyperparameters": {"n_step": 7}}, "did you mean n_steps"),
        ({"env_kwargs": {"size": 20}}, "images are 20x20.*at least 36x36"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_impossible_values(config: MakeConfig, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        agents.train_agent(config(**changes))


def test_unknown_ids_name_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="did you mean DreamEnv-MemoryMaze-v0"):
        envs.find_spec("DreamEnv-MemoryMase-v0")
    with pytest.raises(ConfigError, match="cannot import 'no_such_package'"):
        envs.find_spec("no_such_package:Colour-v0")
    out = str(tmp_path / "run")
    assert cli.main(["train-agent", "--env", "Color-v0", "--out", out]) == 2
    assert "error: unknown environment id 'Color-v0'; did you mean" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ids_may_name_their_module() -> None:
    assert envs.find_spec("tests.agents.colour_env:Colour-v0").id == "Colour-v0"


def test_which_ids_are_dreams() -> None:
    assert envs.is_dream(envs.find_spec("DreamEnv-MemoryMaze-v0"))
    assert envs.is_dream(envs.find_spec("DreamEnv-v0"))
    assert not envs.is_dream(envs.find_spec("MemoryMaze-9x9-v0"))
    assert not envs.is_dream(envs.find_spec("CartPole-v1"))


def test_dreams_are_stepped_as_one_batch(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make_dream_vec_env(env_id: str, num_envs: int, **kwargs: object) -> VecEnv:
        made.append((env_id, num_envs, kwargs))
        return VecMonitor(DummyVecEnv([lambda: ColourEnv()] * num_envs))

    module = types.ModuleType("dreamenv.dream.sb3")
    module.make_dream_vec_env = make_dream_vec_env  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dreamenv.dream.sb3", module)
    path = agents.train_agent(
        config(
            env="DreamEnv-MemoryMaze-v0",
            env_kwargs={"horizon": 9},
            num_envs=3,
            seed=5,
            steps=192,
            eval_every=192,
            eval_episodes=2,
        )
    )
    assert made == [
        ("DreamEnv-MemoryMaze-v0", 3, {"seed": 5, "horizon": 9}),
        ("DreamEnv-MemoryMaze-v0", 2, {"seed": 10_000, "horizon": 9}),
    ]
    assert len(load_sb3(path).ep_info_buffer) == 192 // 16


@pytest.mark.parametrize("num_envs", [1, 3, 4, 16, 64, 500])
def test_minibatches_divide_the_rollout(num_envs: int) -> None:
    recipe = make_recipe(num_envs, {})
    assert recipe.n_steps * num_envs % recipe.batch_size == 0
    assert recipe.n_steps * num_envs >= 1024


@pytest.mark.parametrize("algo", ["ppo", "recurrent_ppo"])
def test_every_entry_of_the_recipe_is_read(algo: str) -> None:
    values = {
        "n_steps": 12,
        "batch_size": 6,
        "n_epochs": 7,
        "learning_rate": 0.5,
        "learning_rate_end": 0.25,
        "gamma": 0.6,
        "gae_lambda": 0.7,
        "clip_range": 0.3,
        "ent_coef": 0.04,
        "vf_coef": 0.8,
        "max_grad_norm": 0.9,
        "features_dim": 11,
        "net_width": 12,
        "lstm_hidden_size": 13,
    }
    assert set(values) == {entry.name for entry in fields(Recipe)}
    env = DummyVecEnv([ColourEnv])
    model = build_model(algo, make_recipe(1, values), env, seed=3, device="cpu")
    read = {name: getattr(model, name) for name in values if hasattr(model, name)}
    read["learning_rate"] = model.lr_schedule(1.0)
    read["learning_rate_end"] = model.lr_schedule(0.0)
    read["clip_range"] = model.clip_range(1.0)
    read["features_dim"] = model.policy.features_dim
    if isinstance(model, RecurrentPPO):
        read["lstm_hidden_size"] = model.policy.lstm_actor.hidden_size
    else:
        del values["lstm_hidden_size"]
    del values["net_width"]  # of other observations than frames; see test_memory.py
    assert read == values


def test_dictionary_observations() -> None:
    from gymnasium.spaces import Box, Dict

    class PairEnv(ColourEnv):
        def __init__(self) -> None:
            super().__init__()
            self.frame_space = self.observation_space
            self.observation_space = Dict({"frame": self.frame_space, "age": Box(0, 1, (1,))})

        def _show(self) -> dict[str, np.ndarray]:  # type: ignore[override]
            return {"frame": np.zeros((36, 36, 3), np.uint8), "age": np.zeros(1, np.float32)}

    model = build_model("ppo", make_recipe(1, {}), DummyVecEnv([PairEnv]), seed=0, device="cpu")
    assert type(model.policy).__name__ == "MultiInputActorCriticPolicy"


def test_missing_extra(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dreamenv.agents.training", raising=False)
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "dreamenv\[agents\]"'):
        agents.train_agent(config())
