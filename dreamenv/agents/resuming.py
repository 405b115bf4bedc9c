"""What a training of agents goes on from beside the agent: episodes under way and what it saw.

It lies in `resume/step_…` of the run folder, written before the agent that it belongs to: whenever
a run is killed, the agent in the folder finds what was saved with it.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from dreamenv.agents.recipes import Model
from dreamenv.core.errors import DreamEnvError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.dream.sb3 import DreamVecEnv, VecWithMemory
from dreamenv.dream.state import DreamState

TRAINING, DREAMS = "training.pt", "dreams.safetensors"


def save_episodes(model: Model, folder: Path) -> None:
    """Write everything that the next rollout depends on, except what is in the agent itself.

    Raises:
        OSError: the folder cannot be written.
    """
    env = model.get_env()
    assert env is not None
    saved: dict[str, Any] = {
        # In the order in memory that it has: sums over another one would round differently.
        "observation": _map(lambda array: torch.from_numpy(array.copy("K")), model._last_obs),
        "episode_starts": torch.from_numpy(np.array(model._last_episode_starts)),
        "lstm": [state.cpu() for states in _lstm_states(model) for state in states],
        "pending": {
            name: (float(value), model.logger.name_to_excluded[name] or ())
            for name, value in model.logger.name_to_value.items()
        },
    }
    for part in _chain(env):
        if isinstance(part, VecMonitor):
            saved["monitor"] = {
                "returns": torch.from_numpy(part.episode_returns.copy()),
                "lengths": torch.from_numpy(part.episode_lengths.copy()),
            }
        elif isinstance(part, VecWithMemory):
            saved["memory"] = part.get_memory()
    if isinstance(env.unwrapped, DreamVecEnv):
        env.unwrapped.dreams.get_state().save(folder / DREAMS)
    elif env.has_attr("episode_so_far"):
        saved["episodes"] = env.env_method("episode_so_far")
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    atomic_write_bytes(folder / TRAINING, buffer.getvalue())


def restore_episodes(model: Model, folder: Path) -> str:
    """Put the environments and the agent's view of them back to where they were saved.

    Returns:
        Why that is not possible, and all episodes begin anew; empty if nothing was lost.
    """
    env = model.get_env()
    assert env is not None
    try:
        saved = torch.load(folder / TRAINING, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return "it was saved without its episodes"
    except Exception as error:  # torch.load raises whatever its unpickler meets
        return f"its episodes cannot be read ({str(error).splitlines()[0]})"
    if "episodes" in saved:
        for number in range(env.num_envs):
            env.env_method("set_number", number, indices=[number])
        came_back = env.env_method("play_again", saved["episodes"])
        if not all(came_back):
            return (
                f"{came_back.count(False)} of {len(came_back)} environments show something else "
                "after the same seed and actions"
            )
    elif not isinstance(env.unwrapped, DreamVecEnv):
        return "these environments cannot be brought back to where they were"
    else:
        try:
            env.unwrapped.dreams.set_state(DreamState.load(folder / DREAMS))
        except DreamEnvError as error:
            return str(error)
    for part in _chain(env):
        if isinstance(part, VecMonitor):
            part.episode_returns = saved["monitor"]["returns"].numpy()
            part.episode_lengths = saved["monitor"]["lengths"].numpy()
        elif isinstance(part, VecWithMemory) and not part.set_memory(saved["memory"]):
            return "the world model that watches is another one"
    model._last_obs = _map(lambda tensor: tensor.numpy(), saved["observation"])
    model._last_episode_starts = saved["episode_starts"].numpy()
    kept = iter(saved["lstm"])
    for states in _lstm_states(model):
        for state in states:
            state.copy_(next(kept))
    for name, (value, excluded) in saved["pending"].items():
        model.logger.record(name, value, exclude=tuple(excluded) or None)
    return ""


def remove_other_episodes(folder: Path) -> None:
    """Remove what belongs to agents saved before, beside `folder`."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _chain(env: VecEnv) -> list[VecEnv]:
    """The environment and all that it wraps, outermost first."""
    chain = [env]
    while isinstance(chain[-1], VecEnvWrapper):
        chain.append(chain[-1].venv)
    return chain


def _lstm_states(model: Model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    states = getattr(model, "_last_lstm_states", None)
    return [] if states is None else [states.pi, states.vf]


def _map(function: Any, observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: function(value) for key, value in observation.items()}
    return function(observation)
