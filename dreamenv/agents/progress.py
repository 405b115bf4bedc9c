"""How far an agent's training has come: optimiser, counters, latest episodes, random generators.

All of it is data: tensors, and numbers beside them. With it training goes on as if it had never
stopped (`dreamenv.agents.resuming` adds the episodes under way).
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamenv.core.errors import ConfigError

COUNTERS = (
    *("num_timesteps", "_n_updates", "_total_timesteps", "_num_timesteps_at_start"),
    *("_episode_num", "_current_progress_remaining"),
)
SECONDS = "training_seconds"
"""Of training so far; noted where `dreamenv train-agent` trains."""
EPISODES = ("r", "l", "t")
"""Return, length and time of the latest episodes."""
WITHOUT_NEED = ("optimizer/", "episodes/", "random/")
"""Tensors that an agent acts without."""


def pack_progress(model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and plain data, for `restore_progress`."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {name: getattr(model, name) for name in COUNTERS}
    if hasattr(model, SECONDS):
        plain[SECONDS] = model.training_seconds
    state = model.policy.optimizer.state_dict()
    plain["optimizer"] = [
        {name: value for name, value in group.items() if name != "params"}
        for group in state["param_groups"]
    ]
    for index, moments in state["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer/{index}/{name}"] = value.detach().cpu()
    episodes = list(model.ep_info_buffer or [])
    for name in EPISODES if episodes else ():
        tensors[f"episodes/{name}"] = torch.from_numpy(np.array([one[name] for one in episodes]))
    chance = getattr(model, "random_state", None)
    if chance is not None:
        _, words, following = chance["python"]
        _, keys, position, has_gauss, gauss = chance["numpy"]
        tensors["random/python"] = torch.tensor(words, dtype=torch.int64)
        tensors["random/numpy"] = torch.from_numpy(keys.astype(np.int64))
        tensors["random/torch"] = torch.from_numpy(chance["torch"])
        for number, one in enumerate(chance["cuda"]):
            tensors[f"random/cuda/{number}"] = torch.from_numpy(one)
        plain["random"] = {"python": following, "numpy": [position, has_gauss, gauss]}
    return tensors, plain


def restore_progress(model: Any, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Put a newly built agent where the saved one was.

    Raises:
        ConfigError: what was saved does not fit the agent.
    """
    try:
        for name in (*COUNTERS, SECONDS):
            if name in plain:
                setattr(model, name, _number(plain[name]))
        if "optimizer" in plain:
            _restore_optimizer(model.policy, tensors, plain["optimizer"])
        latest: list[dict[str, Any]] = []
        if "episodes/r" in tensors:
            rows = zip(*(tensors[f"episodes/{name}"].numpy() for name in EPISODES), strict=True)
            latest = [dict(zip(EPISODES, row, strict=True)) for row in rows]
        model.ep_info_buffer = deque(latest, maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        if "random" in plain:
            model.random_state = _chance(tensors, plain["random"])
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"its training cannot be gone on with ({error})") from error


def _restore_optimizer(policy: Any, tensors: dict[str, Tensor], groups: list[Any]) -> None:
    state = policy.optimizer.state_dict()
    weights = [weight for group in policy.optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, moment = name.split("/")
            if tensor.ndim and tensor.shape != weights[int(index)].shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}")
            moments.setdefault(int(index), {})[moment] = tensor.clone()
    for stored, group in zip(groups, state["param_groups"], strict=True):
        for name, value in stored.items():
            if name not in group:
                raise ValueError(f"the optimiser knows no {name[:80]!r}")
            if isinstance(value, list):
                group[name] = tuple(map(_number, value))
            else:
                group[name] = value if value is None else _number(value)
    policy.optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})


def _chance(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    words = tuple(tensors["random/python"].tolist())
    keys = tensors["random/numpy"].numpy().astype(np.uint32)
    position, has_gauss, gauss = map(_number, plain["numpy"])
    cuda = [name for name in sorted(tensors) if name.startswith("random/cuda/")]
    state: dict[str, Any] = {
        "python": (3, words, plain["python"]),
        "numpy": ("MT19937", keys, position, has_gauss, gauss),
        "torch": tensors["random/torch"].numpy(),
        "cuda": [tensors[name].numpy() for name in cuda],
    }
    random.Random().setstate(state["python"])  # so that no other place meets what is none
    np.random.RandomState().set_state(state["numpy"])
    torch.Generator().set_state(tensors["random/torch"])
    return state


def _number(value: Any) -> Any:
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{str(value)[:80]!r} is no number")
    return value
