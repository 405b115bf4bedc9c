"""Checks of the arguments that a dream is made with, before anything is loaded; of types, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from dreamenv.core.errors import ConfigError
from dreamenv.dream.spawns import Spawns

RENDER_MODES = ("rgb_array", "human")
REWARDS = ("likeliest", "expected", "sampled")
"""What a step pays: the model's likeliest value, its expectation, or a draw."""
RENAMED = {"steps": "denoising_steps"}
"""Name of an argument in earlier versions → its name."""


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int, if it is a whole number of at least `least`.

    Raises:
        ConfigError: it is not; floats such as 2.0 are none, nor are booleans.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def share(name: str, value: Any) -> float:
    """`value` as a float, if it is a number from 0 to 1.

    Raises:
        ConfigError: it is not.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a number from 0 to 1, not {value!r}")
    return float(value)


def one_of(name: str, value: Any, choices: tuple[str | None, ...]) -> Any:
    """`value`, if it is among `choices`.

    Raises:
        ConfigError: it is not.
    """
    if not (value is None or isinstance(value, str)) or value not in choices:
        known = ", ".join(map(repr, choices))
        raise ConfigError(f"{name} is one of {known}, not {value!r}")
    return value


def a_folder(name: str, value: Any) -> str | Path:
    """`value`, if it can name a folder, or what stands for one (`bundled:NAME`, `hf://…`).

    Raises:
        ConfigError: it is no string or path.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes):
        raise ConfigError(f"{name} must be the path of a folder, not {value!r}")
    return value if isinstance(value, str) else Path(value)


def device_name(value: Any) -> str:
    """The name of a torch device, which may be given as the device itself.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(value, str | torch.device):
        raise ConfigError(f"device must be the name of a torch device, or 'auto', not {value!r}")
    return str(value)


def autoreset(value: Any) -> AutoresetMode:
    """The mode of autoreset, which may be given by its name.

    Raises:
        ConfigError: there is no such mode.
    """
    try:
        return AutoresetMode(value)
    except ValueError as error:
        known = ", ".join(mode.value for mode in AutoresetMode)
        raise ConfigError(f"autoreset_mode is one of {known}, not {value!r}") from error


def own_spawns(value: Any) -> Spawns | None:
    """`value`, if it is `Spawns` or None.

    Raises:
        ConfigError: it is not.
    """
    if not (value is None or isinstance(value, Spawns)):
        raise ConfigError(
            "spawns must be dreamenv.dream.spawns.Spawns, as draw_spawns and spawns_from_rollouts "
            f"return them, not {value!r}"
        )
    return value
