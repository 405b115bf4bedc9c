"""`dreamenv compare`: the comparison of world models, which stands in a checkout's experiments/."""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv.core.errors import MissingDependencyError

CHECKOUT = Path(__file__).parents[2]

if not (CHECKOUT / "experiments" / "command.py").is_file():
    raise MissingDependencyError(
        "the comparison is not installed with the package: run this from a checkout of the "
        "repository, installed with pip install -e ."
    )
# An editable install brings the package alone. First, since many a working folder holds another
# `experiments`.
sys.path.insert(0, str(CHECKOUT))

from experiments.command import Options, run  # noqa: E402

__all__ = ["Options", "run"]
