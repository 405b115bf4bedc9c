"""What a client is given, and what comes of its checks."""

from __future__ import annotations

import importlib.metadata
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium

NOTHING = "nothing"
"""What a user should have to change."""
FRESH = "nothing for dreams; for mazes this argument, once the process has drawn one"
"""Why processes that are forked do not do everywhere."""


@dataclass(frozen=True)
class World:
    """The environment that the checks run on.

    Its episodes last `horizon` steps, and it shows uint8 frames. The same values in any process:
    it can be pickled, and so can its methods.
    """

    env_id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    horizon: int = 4
    dream: bool = True
    """Whether it is one of ours that is dreamt, with a vector environment of its own."""

    def __post_init__(self) -> None:
        import dreamenv  # noqa: F401  (registers the ids)

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Wake up in another process."""
        vars(self).update(kept)
        self.__post_init__()

    def make(self, **changes: Any) -> gymnasium.Env:
        """One environment."""
        return gymnasium.make(self.env_id, **{**self.kwargs, **changes})

    def make_vec(self, num_envs: int, mode: str | None = None, **changes: Any) -> Any:
        """A vector environment: the id's own, or Gymnasium's by the name of its mode."""
        kwargs = {**self.kwargs, **changes}
        return gymnasium.make_vec(self.env_id, num_envs, vectorization_mode=mode, **kwargs)


@dataclass(frozen=True)
class Check:
    """Something that the users of a library do."""

    what: str
    run: Callable[[World], object]
    change: str = NOTHING
    """What a user has to change in code that was written for another environment."""
    needs: tuple[str, ...] = ()
    """Modules without which it cannot run, beyond the client's own."""
    dreams_only: bool = False
    """Whether it is about what only dreams have, or would build mazes by the dozen."""
    processes: bool = False
    """Whether it starts processes, each of which takes seconds to begin."""


def versions(packages: tuple[str, ...]) -> str:
    """Names and versions of installed distributions, those that are missing as such."""
    found = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} (not installed)")
    return ", ".join(found)


def outcome(check: Check, world: World) -> str:
    """`"passed"`, or the error that the check ended with."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check.run(world)
    except Exception as error:  # whatever a foreign library raises is a result
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0][:160]}"
    return "passed"


def require(holds: object, what: str) -> None:
    """Insist on what a check is about.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(what)
