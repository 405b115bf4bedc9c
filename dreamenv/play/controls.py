"""`Control`: the keys of a page, and what they do in an environment."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space

from dreamenv.core.action_rows import leaves_of
from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.plugin import Keys, family_of

ARROWS = {
    1073741903: "ArrowRight",
    1073741904: "ArrowLeft",
    1073741905: "ArrowDown",
    1073741906: "ArrowUp",
}
"""pygame's codes of the keys that have no character → what browsers call them."""
PLAIN = string.digits + string.ascii_lowercase
PAIRS = (("ArrowLeft", "ArrowRight"), ("ArrowDown", "ArrowUp"), ("a", "d"), ("s", "w"), ("q", "e"))
"""Keys that lower and raise the numbers of a box, one pair for each."""


@dataclass(frozen=True)
class Control:
    """Keys that are held together, and the action that they mean.

    Where actions are several numbers, keys that are held at once change each the numbers in which
    their action differs from the idle one.
    """

    keys: tuple[str, ...]
    """As `KeyboardEvent.key` calls them; empty where an action has only a button."""
    action: int | list[float]
    """The row of the action (`dreamenv.core.action_rows`), flat."""
    label: str


def controls(space: Space, env_id: str, keys: Mapping[Any, int] | None = None) -> list[Control]:
    """The controls of an environment.

    Args:
        space: of its actions.
        env_id: by which a known family's keys and names are found.
        keys: the environment's own, as its `get_keys_to_action` tells them.

    Raises:
        EnvironmentUsageError: nobody can play with such actions.
    """
    if not isinstance(space, Discrete):
        return _of_numbers(space)
    family = family_of(env_id)
    start, count = int(space.start), int(space.n)
    names = [str(start + i) for i in range(count)]
    if family is not None and len(family.actions) == count:
        names = [_readable(name) for name in family.actions]
        keys = {codes: start + action for codes, action in family.keys.items()} or keys
    if not keys:
        plain: Keys = {(ord(key),): start + i for i, key in enumerate(PLAIN[:count])}
        keys = plain
    found = [
        Control(pressed, int(action), names[int(action) - start])
        for codes, action in keys.items()
        if (pressed := _names(codes)) and start <= int(action) < start + count
    ]
    without = set(range(start, start + count)) - {int(each.action) for each in found}  # type: ignore[arg-type]
    return found + [Control((), action, names[action - start]) for action in sorted(without)]


def idle_action(space: Space, env_id: str) -> int | list[float]:
    """The action of somebody who presses nothing: the one that does nothing, as far as known."""
    if not isinstance(space, Discrete):
        return [number for _, leaf in leaves_of(space) for number in _rest_of(leaf)]
    family = family_of(env_id)
    if family is not None and len(family.actions) == space.n and "noop" in family.actions:
        return int(space.start) + family.actions.index("noop")
    return int(space.start)


def _of_numbers(space: Space) -> list[Control]:
    """A pair of keys for each number of a box, a key for each category but the first."""
    idle = idle_action(space, "")
    assert isinstance(idle, list)
    pairs, plain = list(PAIRS), [key for key in PLAIN if key not in "adswqe"]
    found: list[Control] = []
    place = 0
    for path, leaf in leaves_of(space):
        for number, (name, values) in enumerate(_choices(leaf)):
            label = " ".join(part for part in (path, name) if part)
            continuous = isinstance(leaf, Box)
            keys = pairs.pop(0) if continuous and pairs else ()
            for i, value in enumerate(values):
                action = [*idle]
                action[place + number] = value
                key = keys[i : i + 1] if continuous else tuple(plain[:1])
                if not continuous:
                    del plain[:1]
                shown = "−+"[i] if continuous else "" if len(values) == 1 else f"{value:.0f}"
                found.append(Control(tuple(key), action, f"{label} {shown}".strip()))
        place += len(_rest_of(leaf))
    return found


def _choices(leaf: Space) -> list[tuple[str, list[float]]]:
    """For each number of an action, what it is called and the values that keys give it."""
    if isinstance(leaf, Box):
        low, high = (np.clip(bound, -1, 1).ravel() for bound in (leaf.low, leaf.high))
        ends = zip(low.tolist(), high.tolist(), strict=True)
        return [(f"{i + 1}", list(pair)) for i, pair in enumerate(ends)]
    if isinstance(leaf, MultiBinary):
        return [(f"{i + 1}", [1.0]) for i in range(int(np.prod(leaf.shape)))]
    if isinstance(leaf, Discrete):
        return [("", [float(leaf.start + 1 + i) for i in range(int(leaf.n) - 1)])]
    if isinstance(leaf, MultiDiscrete):
        starts, counts = leaf.start.ravel().tolist(), leaf.nvec.ravel().tolist()
        return [
            (f"{i + 1}:", [float(start + 1 + k) for k in range(count - 1)])
            for i, (start, count) in enumerate(zip(starts, counts, strict=True))
        ]
    raise EnvironmentUsageError(f"actions from {leaf} cannot be played by hand")


def _rest_of(leaf: Space) -> list[float]:
    """The numbers of doing nothing: 0, or what is nearest to it; the first of categories."""
    if isinstance(leaf, Box):
        return np.clip(np.zeros(leaf.shape), leaf.low, leaf.high).ravel().tolist()
    if isinstance(leaf, Discrete):
        return [float(leaf.start)]
    if isinstance(leaf, MultiDiscrete):
        return [float(start) for start in leaf.start.ravel()]
    return [0.0] * int(np.prod(leaf.shape or ()))


def _names(codes: Any) -> tuple[str, ...]:
    """Key codes, or characters, as browsers call them; () if a browser has no such keys."""
    each = tuple(codes) if isinstance(codes, tuple | list | str) else (codes,)
    names = []
    for code in each:
        name = ARROWS.get(code) if isinstance(code, int) else str(code)
        if name is None:
            if not 31 < code < 127:
                return ()
            name = chr(code)
        names.append(name.lower() if len(name) == 1 else name)
    return tuple(names)


def _readable(name: str) -> str:
    return name.replace("_", " ").replace("+", " + ")
