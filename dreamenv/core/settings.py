"""Settings that are read from the environment of the process."""

from __future__ import annotations

import os

KERNELS = "DREAMENV_KERNELS"
"""`0` leaves all compiled kernels out: torch's own operations do their work."""


def kernels_wanted() -> bool:
    """Whether compiled kernels may be used, as far as the user says."""
    return os.environ.get(KERNELS, "1") != "0"
