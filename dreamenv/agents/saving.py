"""Agents of a run on disk: plain data with the random state, from which training goes on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dreamenv.agents.agent_files import agent_bytes
from dreamenv.agents.loading import load_sb3
from dreamenv.agents.recipes import Model
from dreamenv.core.errors import CheckpointError, DreamEnvError
from dreamenv.core.files import atomic_write_bytes


def save_model(model: BaseAlgorithm, path: Path) -> None:
    """Write weights, optimiser, schedules, step count and random state as one file, atomically.

    Raises:
        DreamEnvError: the file cannot be written; the agent saved before is still there.
    """
    model.random_state = _random_state()  # type: ignore[attr-defined]
    data = agent_bytes(model)  # type: ignore[arg-type]
    try:
        atomic_write_bytes(path, data)
    except OSError as error:
        raise unsaved(path, error) from error


def unsaved(path: Path, error: OSError) -> DreamEnvError:
    """The error to raise where something of an agent could not be written."""
    return DreamEnvError(
        f"cannot save the agent to {path}: {error.strerror}; make room, then continue with "
        "--resume from the agent saved before"
    )


def load_model(algo: str, path: Path, env: VecEnv, device: str, trust: bool = False) -> Model:
    """Continue from a saved agent; `restore_episodes` brings back the episodes then under way.

    Args:
        algo: what it learns with.
        path: of its file; runs of version 0.1 have a zip.
        env: to go on in.
        device: of its network.
        trust: run whatever code the author of a zip put there.

    Raises:
        UntrustedAgentError: it is a zip, and `trust` was not given.
        CheckpointError: `env` has other spaces than the agent was trained in, or the agent is of
            another algorithm or program.
    """
    model = load_sb3(path, trust=trust, env=env, device=device)
    if (type(model) is RecurrentPPO) != (algo == "recurrent_ppo"):
        raise CheckpointError(f"{path} holds an agent of {type(model).__name__}, not of {algo}")
    if not hasattr(model, "random_state"):
        raise CheckpointError(f"{path} was saved by another program than dreamenv train-agent")
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
