"""Agents are saved as plain data: loading one runs nothing, and nothing that matters is lost."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import LinearSchedule

from dreamenv import load_agent, load_sb3, save_agent
from dreamenv.agents.agent_files import KIND, without_training
from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.evaluation.gap.transfer import Contender
from dreamenv.world_model.tensor_files import pack_tensors, unpack_tensors
from tests.agents.conftest import frames

SMALL: dict[str, Any] = {"n_steps": 2, "batch_size": 2, "device": "cpu"}
PICTURE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MEMORY = spaces.Box(-np.inf, np.inf, (4,), np.float32)
# A network reads its parts in their order, which need not be that of their names.
BOTH = spaces.Dict(OrderedDict(memory=MEMORY, frame=PICTURE))


class Spaces(gymnasium.Env):
    """Has spaces."""

    def __init__(self, observations: spaces.Space, actions: spaces.Space) -> None:
        self.observation_space, self.action_space = observations, actions


MODELS: dict[str, Callable[[], PPO | RecurrentPPO]] = {
    "numbers": lambda: PPO("MlpPolicy", "CartPole-v1", **SMALL),
    "its own widths": lambda: PPO(
        "MlpPolicy",
        Spaces(spaces.Box(-1, 1, (3,)), spaces.Box(-2, np.array([1, 2]), (2,))),
        learning_rate=LinearSchedule(1e-3, 1e-4, 0.5),
        policy_kwargs={"net_arch": {"pi": [8], "vf": [6, 6]}, "activation_fn": torch.nn.ELU},
        **SMALL,
    ),
    "both": lambda: RecurrentPPO(
        "MultiInputLstmPolicy",
        Spaces(BOTH, spaces.MultiDiscrete([3, 2])),
        policy_kwargs={"lstm_hidden_size": 8, "net_arch": [8]},
        **SMALL,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_spaces_and_settings_come_back_without_trust(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    path = save_agent(model, tmp_path / "agent.safetensors")
    before = torch.get_rng_state()
    same = load_sb3(path)
    assert torch.equal(torch.get_rng_state(), before), "first weights are drawn from elsewhere"
    assert type(same) is type(model) and same.policy_class is model.policy_class
    assert same.observation_space == model.observation_space
    if isinstance(model.observation_space, spaces.Dict):
        assert list(same.observation_space.spaces) == ["memory", "frame"]  # type: ignore[attr-defined]
    assert same.action_space == model.action_space
    for key, weight in model.policy.state_dict().items():
        assert torch.equal(weight, same.policy.state_dict()[key]), key
    assert same.policy_kwargs == model.policy_kwargs
    for remaining in (1.0, 0.7, 0.0):
        assert same.lr_schedule(remaining) == model.lr_schedule(remaining)
        assert same.clip_range(remaining) == model.clip_range(remaining)  # type: ignore[operator]
    agent = load_agent(tmp_path / "agent", model.action_space, seed=0)
    assert agent.observation == ("memory" if name == "both" else "frame")
    same.save(tmp_path / "agent.zip")
    back = type(model).load(tmp_path / "agent.zip", device="cpu")
    assert back.policy_kwargs == model.policy_kwargs


def test_training_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    env = gymnasium.make("CartPole-v1")
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(64)
    path = save_agent(model, tmp_path / "agent.safetensors")
    same = load_sb3(path, env=env)
    assert same.num_timesteps == 64 and same._n_updates == model._n_updates
    assert list(same.ep_info_buffer) == list(model.ep_info_buffer)
    here, there = (one.policy.optimizer.state_dict()["state"] for one in (model, same))
    assert here.keys() == there.keys() and here
    for index, moments in here.items():
        assert all(torch.equal(value, there[index][key]) for key, value in moments.items())
    same.learn(64, reset_num_timesteps=False)
    assert same.num_timesteps == 128
    with pytest.raises(CheckpointError, match="cannot be continued in this environment"):
        load_sb3(path, env=gymnasium.make("MountainCar-v0"))
    data = path.read_bytes()
    (tmp_path / "small").write_bytes(without_training(data))
    assert len(without_training(data)) < 0.5 * len(data)
    assert load_sb3(tmp_path / "small").num_timesteps == 64


def test_how_long_an_agent_was_trained_is_told(trained: dict[str, Path]) -> None:
    told = Contender("dream", str(trained["ppo"])).training()
    assert told is not None and told["steps"] == 512 and told["seconds"] > 0


def test_what_cannot_be_described_by_data_is_refused(tmp_path: Path) -> None:
    strange = [
        PPO(
            "MlpPolicy", "CartPole-v1", policy_kwargs={"activation_fn": torch.nn.Softplus}, **SMALL
        ),
        PPO(
            *("MlpPolicy", "CartPole-v1"),
            policy_kwargs={"features_extractor_class": FlattenExtractor},
            **SMALL,
        ),
        A2C("MlpPolicy", "CartPole-v1", n_steps=2, device="cpu"),
    ]
    for model in strange:
        with pytest.raises(ConfigError, match="save it with its own save|no agent that is known"):
            save_agent(model, tmp_path / "agent.safetensors")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="end in .safetensors"):
        save_agent(MODELS["numbers"](), tmp_path / "agent.zip")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent on numbers."""
    return save_agent(MODELS["numbers"](), tmp_path_factory.mktemp("saved") / "agent.safetensors")


HUGE = 10**9
FORGED: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "a class by its path": lambda b, w: b["policy_kwargs"].update(activation_fn="os.system"),
    "a network of its own": lambda b, w: b.update(policy="dreamenv.agents.Anything"),
    "an argument that is none": lambda b, w: b["policy_kwargs"].update(optimizer_class=1),
    "widths of gigabytes": lambda b, w: b["policy_kwargs"].update(net_arch=[60_000, 60_000]),
    "widths beyond counting": lambda b, w: b["policy_kwargs"].update(net_arch=[HUGE]),
    "layers without end": lambda b, w: b["policy_kwargs"].update(net_arch=[1] * 100_000),
    "pictures of gigabytes": lambda b, w: b["observation_space"].update(shape=[HUGE]),
    "another space": lambda b, w: b["observation_space"].update(type="Pickle"),
    "words for numbers": lambda b, w: b["settings"].update(gamma="__import__('os')"),
    "a setting of its own": lambda b, w: b["settings"].update(env="x"),
    "environments without end": lambda b, w: b.update(num_envs=HUGE),
    "no seed": lambda b, w: b.update(seed="x"),
    "a weight that is missing": lambda b, w: w.pop("policy/action_net.bias"),
    "a weight too many": lambda b, w: w.update({"policy/more": torch.zeros(1)}),
    "a weight that is NaN": lambda b, w: w["policy/action_net.bias"].fill_(torch.nan),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_files_are_refused_before_memory_is_taken(
    name: str, saved: Path, tmp_path: Path
) -> None:
    tensors, about = unpack_tensors(saved.read_bytes())
    described = json.loads(about[KIND])
    FORGED[name](described["blueprint"], tensors)
    path = tmp_path / "agent.safetensors"
    path.write_bytes(pack_tensors(tensors, {KIND: json.dumps(described)}))
    with pytest.raises(CheckpointError, match="the agent .*agent.safetensors is damaged"):
        load_sb3(path)


def test_damaged_files_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path = tmp_path / "agent.safetensors"
    for data in (b"", b"hello", whole[: len(whole) // 2], bytes(flipped), pack_tensors({}, {})):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="is no agent .*or is damaged"):
            load_agent(path, spaces.Discrete(2), seed=0)


def test_an_agent_acts_the_same_from_either_file(
    trained: dict[str, Path], zipped: dict[str, Path]
) -> None:
    for algo, path in zipped.items():
        pair = [load_agent(one, spaces.Discrete(3), 0, trust=True) for one in (path, trained[algo])]
        for seen in frames(3):
            start = np.zeros(4, bool)
            assert np.array_equal(*(agent.act(seen, start) for agent in pair))
