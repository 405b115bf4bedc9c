"""What tests of several packages share: a small rollout store and an untrained world model."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hub_stand_in import StandIn

TESTS = Path(__file__).parent
# Compiling kernels for every tiny architecture would take longer than the tests of it; those of
# the kernels themselves switch them on.
os.environ.setdefault("DREAMENV_KERNELS", "0")
# The counting environment's id names its module, here and in processes that tests start.
sys.path.insert(0, str(TESTS / "rollouts"))

EPISODES, STEPS = 3, 60


def write_counting_store(
    path: Path,
    episodes: int = EPISODES,
    steps: int = STEPS,
    continuous: bool = False,
    poses: bool = False,
    **env: Any,
) -> Path:
    """Episodes of the counting environment under random actions; episode i has seed i."""
    from counting_env import CountingEnv

    from dreamenv.rollouts.policies import make_policy
    from dreamenv.rollouts.recording import record_episode
    from dreamenv.rollouts.writer import RolloutWriter

    real, policy = CountingEnv(length=steps, continuous=continuous, **env), make_policy("uniform")
    with RolloutWriter(path, "Counting-v0", real.observation_space, real.action_space) as writer:
        for seed in range(writer.num_episodes, writer.num_episodes + episodes):
            episode = record_episode(real, policy, seed, seed, steps)
            if poses:
                angle = np.arange(len(episode) + 1) / (3 + seed)
                direction = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
                episode.info = {"agent_pos": 3 + 2 * direction, "agent_dir": direction[:, ::-1]}
            writer.append(episode)
    return path


def apart_from(store: Path) -> Path:
    """A store beside `store` of as many like episodes, none of them the same; made once."""
    from dreamenv.rollouts.store import RolloutStore
    from dreamenv.rollouts.writer import RolloutWriter

    path = store.with_name(store.name + "_apart")
    if not path.exists():
        source = RolloutStore(store)
        spaces = source.observation_space, source.action_space
        with RolloutWriter(path, source.env_id, *spaces) as writer:
            for i in range(source.num_episodes):
                episode = source.read(i)
                episode.observation[0] ^= 1
                writer.append(dataclasses.replace(episode, seed=100 + i))
    return path


@pytest.fixture(scope="session")
def counting_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 60 steps, 8×8 pixels, five actions; many rewards; each terminates."""
    return write_counting_store(tmp_path_factory.mktemp("counting") / "store")


@pytest.fixture(scope="session")
def box_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with three continuous actions in [−1, 2]."""
    return write_counting_store(tmp_path_factory.mktemp("box") / "store", continuous=True)


@pytest.fixture(scope="session")
def pose_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The counting episodes with infos `agent_pos` (2,) and `agent_dir` (2,) that go in circles."""
    return write_counting_store(tmp_path_factory.mktemp("pose") / "store", poses=True)


@pytest.fixture(scope="session")
def debug_checkpoint(tmp_path_factory: pytest.TempPathFactory, counting_store: Path) -> Path:
    """An untrained model of the `debug` preset, 64×64 frames, with eight spawns of 6 frames.

    No weight is zero, so every input matters. Its dreams pay at every step and never terminate.
    """
    return save_debug_checkpoint(tmp_path_factory.mktemp("debug") / "checkpoint", counting_store)


def save_debug_checkpoint(folder: Path, store: Path) -> Path:
    """Write an untrained model that fits the actions of a store, with spawns from it."""
    import torch

    from dreamenv.dream.spawn_drawing import save_spawns
    from dreamenv.rollouts.store import RolloutStore
    from dreamenv.training.config import TrainConfig
    from dreamenv.training.fit_config import model_config
    from dreamenv.world_model.checkpoint import save_world_model
    from dreamenv.world_model.model import WorldModel

    torch.manual_seed(0)
    real = RolloutStore(store)
    model = WorldModel(model_config(TrainConfig("", "", "", preset="debug"), real, real))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.tokenizer.latent_mean.uniform_(-0.5, 0.5)
        model.tokenizer.latent_std.uniform_(0.5, 1.5)
        model.dynamics.change.fill_(0.5)
        model.head.continuation.weight.mul_(0.1)
        model.head.continuation.bias.fill_(3.0)
    save_world_model(folder, model, {"env_id": "Counting-v0"}, card="# An untrained model\n")
    save_spawns(folder, store, count=8, length=6)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for every test."""
    return np.random.default_rng(0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for the Hugging Face hub, with a cache of its own; all that the client asks."""
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="make setup installs dreamenv[hub]"
    )
    from dreamenv.core import hub as ours

    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_PROGRESS_BARS"):  # large files go by LFS
        monkeypatch.setattr(constants, name, True)
    monkeypatch.setattr(ours, "_folders", {})
    with StandIn() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        # Early versions read the address once, when they are imported.
        files = stand_in.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files, raising=False)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield stand_in
