"""`dreamenv compare`: the comparison of world models, which stands in a checkout's experiments/."""

from __future__ import annotations

from dreamenv.core.errors import MissingDependencyError

try:
    from experiments.command import Options, run
except ModuleNotFoundError as error:
    if error.name != "experiments":
        raise
    raise MissingDependencyError(
        "the comparison is not installed with the package: run this from a checkout of the "
        "repository (python -m dreamenv compare --help)"
    ) from None

__all__ = ["Options", "run"]
