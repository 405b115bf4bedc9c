"""One debug-size agent of each algorithm, trained once and read by many tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamenv import agents
from dreamenv.agents import AgentConfig
from dreamenv.agents.loading import load_sb3
from tests.agents import colour_env

SMALL = {"n_steps": 64, "batch_size": 32, "features_dim": 32, "lstm_hidden_size": 64}
# A reward belongs to the action just taken; without discounting the rest, little data suffices.
FAST = {"gamma": 0.0, "ent_coef": 0.0}

colour_env.register()


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., AgentConfig]:
    """Make a small single-environment configuration; keywords replace its entries."""
    return lambda **changes: small_config(**{"out": tmp_path / "run"} | changes)


def small_config(**changes: Any) -> AgentConfig:
    """Defaults of the tests; keywords replace them. `out` is needed."""
    values: dict[str, Any] = {
        "env": "Colour-v0",
        "steps": 128,
        "num_envs": 1,
        "hyperparameters": SMALL,
        "eval_every": 0,
        "trust_agent": True,
        "progress": False,
    }
    return AgentConfig(**values | changes)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of a trained PPO and RecurrentPPO agent, each evaluated four times."""
    folders = {}
    for algo, learning_rate in (("ppo", 1e-3), ("recurrent_ppo", 4e-3)):
        folders[algo] = tmp_path_factory.mktemp("runs") / algo
        agents.train_agent(
            small_config(
                out=folders[algo],
                algo=algo,
                env="RandomColour-v0",
                steps=512,
                hyperparameters=SMALL | FAST | {"learning_rate": learning_rate},
                eval_every=128,
                eval_episodes=3,
                video=True,
            )
        )
    return folders


@pytest.fixture(scope="session")
def zipped(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same agents as Stable-Baselines3 saves them itself."""
    folder = tmp_path_factory.mktemp("zips")
    for algo, run in trained.items():
        load_sb3(run).save(folder / f"{algo}.zip")
    return {algo: folder / f"{algo}.zip" for algo in trained}


def frames(steps: int, episodes: int = 4) -> np.ndarray:
    """(T, N, 36, 36, 3) noise."""
    shape = (steps, episodes, 36, 36, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
