"""An agent as one file of plain data: weights as safetensors, a JSON configuration in its header.

Nothing in such a file is executed, whoever wrote it, so it may be loaded from anywhere. A zip of
Stable-Baselines3 holds pickled Python objects and may not (`dreamenv.agents.finding`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dreamenv.agents.blueprint import Blueprint, own_weights
from dreamenv.agents.finding import MOST_BYTES
from dreamenv.agents.progress import WITHOUT_NEED, pack_progress, restore_progress
from dreamenv.core.errors import CheckpointError, ConfigError, UnreadableFileError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.reading import parse_json, read_bytes
from dreamenv.world_model.tensor_files import all_finite, pack_tensors, unpack_tensors

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecEnv

KIND, VERSION = "agent", 1
POLICY = "policy/"


def save_agent(model: PPO | RecurrentPPO, path: str | Path) -> Path:
    """Write an agent of Stable-Baselines3 as plain data; the file is replaced whole.

    Weights, spaces, settings and the state of training are kept, so that it can act and go on
    learning. `load_agent` and every command read it without being told to trust anybody, and
    `load_sb3` makes an ordinary Stable-Baselines3 agent of it again.

    Args:
        model: PPO or RecurrentPPO with one of Stable-Baselines3's own policies.
        path: of the file; by custom it ends in `.safetensors`.

    Raises:
        ConfigError: the agent has parts that cannot be described by data.
        OSError: the file cannot be written; what was there before still is.
    """
    path = Path(path)
    if path.suffix == ".zip":
        raise ConfigError(f"{path}: the file is no zip; let its name end in .safetensors")
    atomic_write_bytes(path, agent_bytes(model))
    return path


def agent_bytes(model: PPO | RecurrentPPO) -> bytes:
    """What `save_agent` writes."""
    tensors, progress = pack_progress(model)
    for name, weight in own_weights(model.policy).items():
        tensors[POLICY + name] = weight.detach().cpu()
    return _pack(tensors, Blueprint.of(model).to_dict(), progress)


def without_training(data: bytes) -> bytes:
    """The same agent without what only further training needs: a third of the bytes.

    Raises:
        UnreadableFileError: it is no agent's file.
    """
    tensors, blueprint, progress = _unpack(data)
    kept = {name: value for name, value in tensors.items() if not name.startswith(WITHOUT_NEED)}
    told = {n: v for n, v in progress.items() if n not in ("optimizer", "random")}
    return _pack(kept, blueprint, told)


def read_progress(path: Path) -> dict[str, Any]:
    """The plain data on the training of a saved agent, such as `num_timesteps`.

    Raises:
        CheckpointError: it is no agent, or damaged.
    """
    return _read(path)[2]


def read_described(path: Path) -> tuple[Blueprint, dict[str, Any]]:
    """What kind of agent a file holds, and the plain data on its training.

    Raises:
        CheckpointError: it is no agent, or damaged.
    """
    _, described, progress = _read(path)
    try:
        return Blueprint.from_dict(described), progress
    except ConfigError as error:
        raise CheckpointError(f"the agent {path} is damaged: {error}") from error


def load_from_file(
    path: Path, device: str = "cpu", env: VecEnv | None = None
) -> PPO | RecurrentPPO:
    """The agent of a file that `save_agent` wrote.

    The sizes that the file declares are compared with what is in it before memory is taken.

    Args:
        path: of the file.
        device: of its network.
        env: to go on training in; None for an agent that acts.

    Raises:
        CheckpointError: it is no such file, damaged, of a later version, its parts do not fit each
            other or `env`.
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
    """
    tensors, described, progress = _read(path)
    weights = {
        name.removeprefix(POLICY): tensor
        for name, tensor in tensors.items()
        if name.startswith(POLICY)
    }
    try:
        blueprint = Blueprint.from_dict(described)
        expected = blueprint.weights()
        for name in sorted(expected.keys() ^ weights.keys()):
            raise ConfigError(f"{name!r} is {'missing' if name in expected else 'no weight of it'}")
        for name, tensor in expected.items():
            if weights[name].shape != tensor.shape or weights[name].dtype != tensor.dtype:
                found = f"{weights[name].dtype} {tuple(weights[name].shape)}"
                raise ConfigError(f"{name!r} is {found}, not {tuple(tensor.shape)}")
        if not all_finite(weights):
            raise ConfigError("it holds weights that are NaN or infinite")
        model = blueprint.build(device, env)
        model.policy.load_state_dict(weights, strict=False)  # other names of them are missing
        restore_progress(model, tensors, progress)
    except (ConfigError, CheckpointError) as error:
        what = "cannot be continued in this environment" if env is not None else "is damaged"
        raise CheckpointError(f"the agent {path} {what}: {error}") from error
    return model


def _pack(tensors: dict[str, Tensor], blueprint: dict[str, Any], progress: dict[str, Any]) -> bytes:
    described = {"version": VERSION, "blueprint": blueprint, "progress": progress}
    return pack_tensors(tensors, {KIND: json.dumps(described, sort_keys=True)})


def _unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    tensors, about = unpack_tensors(data)
    if KIND not in about:
        raise UnreadableFileError("no agent is in it")
    described = parse_json(about[KIND])
    if not isinstance(described, dict) or described.get("version") != VERSION:
        raise UnreadableFileError("an agent of another version of dreamenv")
    blueprint, progress = described.get("blueprint"), described.get("progress")
    if not (isinstance(blueprint, dict) and isinstance(progress, dict)):
        raise UnreadableFileError("no agent is described in it")
    return tensors, blueprint, progress


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    try:
        return _unpack(read_bytes(path, MOST_BYTES))
    except FileNotFoundError:
        raise CheckpointError(f"no agent at {path}") from None
    except UnreadableFileError as error:
        raise CheckpointError(
            f"{path} is no agent that save_agent or dreamenv train-agent wrote, or is damaged "
            f"({error}); copy or train the agent again"
        ) from error
