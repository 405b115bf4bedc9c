"""Agents on disk: ordinary Stable-Baselines3 zips that also hold the random state for resuming."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dreamenv.agents.recipes import Model
from dreamenv.core.errors import CheckpointError, DreamEnvError
from dreamenv.core.files import atomic_write_bytes

NOT_SAVED = ("_last_obs", "_last_episode_starts", "_last_lstm_states", "tensorboard_log")
"""Tied to the running environments, the device or this machine; a loaded agent makes its own."""


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Write weights, optimiser, schedules, step count and random state as one file, atomically.

    Raises:
        DreamEnvError: the file cannot be written; the agent saved before is still there.
    """
    model.random_state = _random_state()  # type: ignore[attr-defined]
    buffer = io.BytesIO()
    model.save(buffer, exclude=NOT_SAVED)
    try:
        atomic_write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise unsaved(path, error) from error


def unsaved(path: Path, error: OSError) -> DreamEnvError:
    """The error to raise where something of an agent could not be written."""
    return DreamEnvError(
        f"cannot save the agent to {path}: {error.strerror}; make room, then continue with "
        "--resume --trust-agent from the agent saved before"
    )


def load_model(algo: str, path: Path, env: VecEnv, device: str) -> Model:
    """Continue from a saved agent; `restore_episodes` brings back the episodes then under way.

    Loading runs whatever code the agent's author put there: `require_trust` comes first.

    Raises:
        CheckpointError: `env` has other spaces than the agent was trained in.
    """
    algorithm = RecurrentPPO if algo == "recurrent_ppo" else PPO
    try:
        model = algorithm.load(path, env=env, device=device)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be continued in this environment: {error}") from error
    except Exception as error:  # unpickling raises whatever it meets
        raise CheckpointError(f"{path} cannot be loaded: {error!r}") from error
    # If episodes have to begin anew, then not with the mazes of the first rollouts, which would
    # be a smaller training set than an uninterrupted run sees: loading seeded as at the start.
    seed = np.random.SeedSequence([model.seed or 0, model.num_timesteps]).generate_state(1)[0]
    env.seed(int(seed >> 1))
    restore_random_state(model)
    return model


def _random_state() -> dict[str, Any]:
    """State of every global generator that training draws from, as arrays and plain data."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state().numpy(),
        "cuda": [state.numpy() for state in torch.cuda.get_rng_state_all()],
    }


def restore_random_state(model: Model) -> None:
    """Let every global generator go on where it was when the agent was saved."""
    state = model.random_state  # type: ignore[union-attr]
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.from_numpy(one) for one in state["cuda"]])
