"""Agents are given the world model's memory, in dreams and in real environments alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamenv import agents
from dreamenv.agents import AgentConfig
from dreamenv.agents.envs import make_vec_env
from dreamenv.agents.evaluation import evaluate
from dreamenv.agents.loading import load_agent, load_sb3
from dreamenv.agents.observations import OnlyMemory
from dreamenv.agents.recipes import build_model, make_recipe
from dreamenv.core.errors import ConfigError
from tests.agents.colour_env import ColourEnv
from tests.agents.conftest import small_config

MakeConfig = Callable[..., AgentConfig]
REAL = "counting_env:FreshCounting-v0"
FEATURES = 128


@pytest.fixture(scope="module")
def dreamt(tmp_path_factory: pytest.TempPathFactory, debug_checkpoint: Path) -> AgentConfig:
    """A run in dreams with memory, evaluated in the real environment beside the same model."""
    config = small_config(
        out=tmp_path_factory.mktemp("dreamt") / "run",
        env="DreamEnv-v0",
        env_kwargs={"checkpoint": str(debug_checkpoint), "observation": "memory", "horizon": 8},
        eval_env=REAL,
        memory_from=str(debug_checkpoint),
        steps=64,
        eval_every=64,
        eval_episodes=1,
        video=True,
    )
    agents.train_agent(config)
    return config


def test_an_agent_of_dreams_acts_in_the_real_environment(dreamt: AgentConfig) -> None:
    model = load_sb3(dreamt.out / "agent.safetensors")
    assert type(model.policy).__name__ == "MultiInputActorCriticPolicy"
    assert model.observation_space["memory"].shape == (FEATURES,)  # type: ignore[index]
    (line,) = map(json.loads, (dreamt.out / "eval.jsonl").read_text().splitlines())
    assert line["env"] == REAL and line["lengths"][0] >= 3
    assert [path.suffix for path in (dreamt.out / "videos").iterdir()] == [".gif"]


def test_it_loads_where_this_package_is_not_installed(dreamt: AgentConfig, tmp_path: Path) -> None:
    load_sb3(dreamt.out).save(tmp_path / "agent.zip")
    program = f"""
import sys
sys.modules["dreamenv"] = sys.modules["agents"] = None  # importing them fails
import numpy as np
from stable_baselines3 import PPO
seen = {{"frame": np.zeros((2, 64, 64, 3), np.uint8), "memory": np.zeros((2, {FEATURES}), "f4")}}
actions, _ = PPO.load(sys.argv[1]).predict(seen)
assert actions.shape == (2,)
"""
    command = [sys.executable, "-I", "-c", program, str(tmp_path / "agent.zip")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Could not deserialize" not in result.stderr


def test_training_goes_on_in_the_real_environment(
    config: MakeConfig, debug_checkpoint: Path
) -> None:
    settings = {"env": REAL, "memory_from": str(debug_checkpoint), "steps": 64}
    path = agents.train_agent(config(**settings))
    assert load_sb3(path).observation_space["memory"].shape == (FEATURES,)  # type: ignore[index]
    with pytest.raises(ConfigError, match="another run: memory_from was .*, now None"):
        agents.train_agent(config(**settings | {"memory_from": None}, resume=True))


def test_memory_alone_is_enough(config: MakeConfig, debug_checkpoint: Path, tmp_path: Path) -> None:
    dream = {"checkpoint": str(debug_checkpoint), "observation": "memory", "horizon": 8}
    settings = {"env": "DreamEnv-v0", "env_kwargs": dream, "only_memory": True}
    real = {"eval_env": REAL, "memory_from": str(debug_checkpoint), "eval_every": 64}
    path = agents.train_agent(config(**settings, **real, eval_episodes=1, steps=64))
    assert list(load_sb3(path).observation_space.spaces) == ["memory"]  # type: ignore[attr-defined]
    agent = load_agent(path, spaces.Discrete(5), seed=0)
    both = {"frame": np.zeros((1, 64, 64, 3), np.uint8), "memory": np.zeros((1, FEATURES))}
    assert agent.act(both, np.ones(1, bool)).shape == (1,)
    with pytest.raises(ConfigError, match="videos show what the agent sees"):
        agents.train_agent(config(**settings, **real, video=True, out=tmp_path / "filmed"))
    with pytest.raises(ConfigError, match="only_memory needs observations with memory"):
        agents.train_agent(config(only_memory=True, out=tmp_path / "blind"))


def test_memory_alone_at_the_end_of_episodes(debug_checkpoint: Path) -> None:
    both = make_vec_env(REAL, 1, 0, {"length": 2}, str(debug_checkpoint))
    env = OnlyMemory(make_vec_env(REAL, 1, 0, {"length": 2}, str(debug_checkpoint)))
    assert np.array_equal(env.reset()["memory"], both.reset()["memory"])
    env.step(np.array([1]))
    both.step(np.array([1]))
    last, wanted = env.step(np.array([2])), both.step(np.array([2]))
    assert set(last[0]) == set(last[3][0]["terminal_observation"]) == {"memory"}
    assert np.array_equal(last[0]["memory"], wanted[0]["memory"])
    ends = [infos[0]["terminal_observation"]["memory"] for *_, infos in (last, wanted)]
    assert np.array_equal(*ends)


def test_what_is_filmed_is_the_frame(debug_checkpoint: Path) -> None:
    env = make_vec_env(REAL, 1, 0, {"length": 4}, str(debug_checkpoint))
    model = build_model("ppo", make_recipe(1, {}), env, seed=0, device="cpu")
    result = evaluate(model, env, 1, seed=0, record_frames=9)
    assert [frame.shape for frame in result.frames] == [(64, 64, 3)] * 4
    # Its first two pixels, of eight in a row, are the step number.
    assert [int(frame[3, 3, 0]) for frame in result.frames] == [0, 1, 2, 3]


def test_memory_from_needs_a_real_environment(config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="for real environments.*observation=memory"):
        agents.train_agent(config(env="DreamEnv-v0", memory_from="bundled:memory_maze_9x9"))
    with pytest.raises(ConfigError, match=r"knows Discrete\(6\)"):
        agents.train_agent(config(memory_from="bundled:memory_maze_9x9"))


def test_memory_on_one_side_only(config: MakeConfig, debug_checkpoint: Path) -> None:
    dream = {"checkpoint": str(debug_checkpoint), "observation": "memory"}
    with pytest.raises(ConfigError, match="both need memory or none.*memory_from for a real"):
        agents.train_agent(
            config(env="DreamEnv-v0", env_kwargs=dream, eval_env=REAL, eval_every=64)
        )


def test_width_of_the_layers_that_read_memory() -> None:
    class PairEnv(ColourEnv):
        def __init__(self) -> None:
            super().__init__()
            memory = spaces.Box(-np.inf, np.inf, (4,), np.float32)
            self.observation_space = spaces.Dict(frame=self.observation_space, memory=memory)

    recipe = make_recipe(1, {"net_width": 13, "features_dim": 11})
    policy = build_model("ppo", recipe, DummyVecEnv([PairEnv]), seed=0, device="cpu").policy
    assert policy.features_dim == 11 + 4
    widths = [layer.out_features for layer in policy.mlp_extractor.policy_net[::2]]
    assert widths == [layer.out_features for layer in policy.mlp_extractor.value_net[::2]]
    assert widths == [13, 13]


def test_small_images_beside_memory_are_refused() -> None:
    space = spaces.Dict(frame=spaces.Box(0, 255, (20, 20, 3), np.uint8))

    class SmallEnv(ColourEnv):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = space

    with pytest.raises(ConfigError, match="images are 20x20"):
        build_model("ppo", make_recipe(1, {}), DummyVecEnv([SmallEnv]), seed=0, device="cpu")
