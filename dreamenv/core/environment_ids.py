"""Looking up registered environment ids, dreamt or simulated."""

from __future__ import annotations

import difflib
from importlib import import_module

import gymnasium
from gymnasium.envs.registration import EnvSpec

import dreamenv  # noqa: F401  (registers the ids)
from dreamenv.core.errors import ConfigError

DEAD_WORKER_ERRORS = (EOFError, BrokenPipeError, ConnectionResetError)
"""What Gymnasium and Stable-Baselines3 raise when the process of an environment is gone."""
CUT_OFF = "got end of file during message"
"""What `multiprocessing` says, in an `OSError` of no kind, of one that was gone while it spoke."""


def worker_died(error: BaseException) -> bool:
    """Whether an error says that the process of an environment is gone."""
    return isinstance(error, DEAD_WORKER_ERRORS) or (
        isinstance(error, OSError) and CUT_OFF in str(error)
    )


def find_spec(env_id: str) -> EnvSpec:
    """Look up a registered id, importing its module first if it is written `module:Id-v0`.

    Raises:
        ConfigError: the module cannot be imported or the id is unknown; names the nearest ids.
    """
    module_name, _, name = env_id.rpartition(":")
    if module_name:
        try:
            import_module(module_name)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"cannot import {module_name!r} to make {env_id!r}: {error}; "
                "install the package or write the id without its module"
            ) from error
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    nearest = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "no registered id is similar;"
    raise ConfigError(
        f"unknown environment id {name!r}; {hint} "
        "An id of another package needs its module: package:Id-v0"
    )


def is_dream(spec: EnvSpec) -> bool:
    """Whether the environment is dreamt by a world model (and so steps as one batch)."""
    entry_point = spec.vector_entry_point
    return isinstance(entry_point, str) and entry_point.startswith("dreamenv.dream")
