"""What a family of real environments brings: the interface of a plugin, and how it is found.

Everything that this package knows about, say, one simulator stands in one `Family`, so that
nothing generic names it. The families of this package are the folders beside this file. Another
distribution adds one through an entry point that leads to a `Family`:

    [project.entry-points."dreamenv.families"]
    my_world = "my_package.dreams:FAMILY"

Importing a family's module must be cheap: what is heavy is named as `"module:attribute"` and
imported when it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module, metadata
from pkgutil import iter_modules
from typing import Any

import gymnasium

from dreamenv.core.errors import MissingDependencyError

GROUP = "dreamenv.families"
"""Entry-point group of families from other distributions."""

Keys = dict[tuple[int, ...], int]
"""Key codes pressed together, as pygame and `ord` number them, → action."""


@dataclass(frozen=True)
class EnvironmentId:
    """A Gymnasium id that a family registers."""

    id: str
    entry_point: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    collecting: Mapping[str, float] = field(default_factory=dict)
    """Specs of policies and their weights that meet rewards and show the world from everywhere:
    what `dreamenv collect` takes where no policy is named; empty for sticky random actions."""


@dataclass(frozen=True)
class Parametrized:
    """A class that is named on the command line, by itself or with a number: `goal:0.3`."""

    place: str
    """module:class."""
    number: str | None = None
    """Keyword argument that the number sets; None if it takes none."""


@dataclass(frozen=True)
class Family:
    """A family of real environments, and all that is known about it."""

    name: str
    extra: str
    """What to install for it, such as `dreamenv[memory-maze]`."""
    ids: tuple[EnvironmentId, ...]
    """What is registered with Gymnasium when this package is imported."""
    owns: Callable[[str], bool]
    """Whether an id, without its module, is one of this family's."""
    dreams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Ids of bundled dreams → arguments of `DreamEnv`, among them `checkpoint`."""
    policies: Mapping[str, Parametrized] = field(default_factory=dict)
    """Policies that collect rollouts by the ground truth (`dreamenv.rollouts.policies.Policy`)."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """Scripted agents that see what any agent sees → module:class, called with a name, the action
    space and a seed (`dreamenv.agents.loading.Agent`)."""
    actions: tuple[str, ...] = ()
    """What the actions of the usual action space are called, from its first."""
    turning: tuple[str, ...] = ()
    """Names of the actions that turn left by a step, turn right by as much, and rest; empty where
    there are none, and turning away and back is then not measured."""
    keys: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    """Keys for `gymnasium.utils.play` → action, counted from the first; empty for plain ones."""
    pose: tuple[str, ...] = ()
    """Infos that together make up the pose, if it tells one."""
    with_pose: str = ""
    """An id of the family that tells its pose, for messages."""
    cues: str = ""
    """Module of `dreamenv.evaluation.memory.cue_questions.Cues`, where cue recall is defined."""

    def load(self, place: str) -> Any:
        """What stands at `module` or `module:attribute`.

        Raises:
            MissingDependencyError: a package that it needs is not installed.
        """
        module_name, _, attribute = place.partition(":")
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{self.name} needs {error.name}; install it with `pip install '{self.extra}'`"
            ) from error
        return getattr(module, attribute) if attribute else module

    def register(self) -> None:
        """Register the family's ids with Gymnasium; safe to call twice."""
        for env in self.ids:
            if env.id not in gymnasium.registry:
                gymnasium.register(
                    id=env.id,
                    entry_point=env.entry_point,
                    kwargs=dict(env.kwargs),
                    max_episode_steps=env.max_episode_steps,
                    # The environments themselves refuse a step before reset and say what to do.
                    order_enforce=False,
                )


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """All families: this package's own, then those of other distributions.

    One that cannot be loaded is left out with a warning, so that it breaks nothing else.
    """
    found = _own()
    names = {family.name for family in found}
    for point in metadata.entry_points(group=GROUP):
        try:
            family = point.load()
            if not isinstance(family, Family):
                raise TypeError(f"{point.value} is a {type(family).__name__}, not a Family")
            if family.name in names:
                raise ValueError(f"there is a family {family.name!r} already")
        except Exception as error:
            where = point.dist.name if point.dist else point.value
            warnings.warn(
                f"{where} brings no usable family of environments ({point.name}): {error}",
                stacklevel=2,
            )
            continue
        found.append(family)
        names.add(family.name)
    return tuple(found)


def family_of(env_id: str) -> Family | None:
    """The family that an id, with or without its module, belongs to."""
    name = env_id.rpartition(":")[2]
    return next((family for family in families() if family.owns(name)), None)


def collecting(env_id: str) -> dict[str, float]:
    """Policies and their weights to collect an environment with, where nobody names any."""
    family = family_of(env_id)
    name = env_id.rpartition(":")[2]
    known = {env.id: dict(env.collecting) for env in family.ids} if family else {}
    return known.get(name) or {"sticky": 1.0}


def default_dream() -> str:
    """Id of the dream that is meant where none is named: the first that is bundled."""
    return next(iter(_bundled()))


def default_checkpoint() -> str:
    """The checkpoint of `default_dream`."""
    return str(_bundled()[default_dream()]["checkpoint"])


def _bundled() -> dict[str, Mapping[str, Any]]:
    return {name: arguments for family in families() for name, arguments in family.dreams.items()}


def _own() -> list[Family]:
    """The families whose folders stand beside this file, by name."""
    room = import_module(__package__)
    folders = sorted(each.name for each in iter_modules(room.__path__) if each.ispkg)
    return [import_module(f"{__package__}.{folder}").FAMILY for folder in folders]
