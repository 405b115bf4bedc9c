"""Which device a model runs on."""

from __future__ import annotations

import torch

from dreamenv.core.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The torch device called `name`; `"auto"` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"no torch device {name!r} here ({reason}); use 'auto' or 'cpu'"
        ) from error
    return device
