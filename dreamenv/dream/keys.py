"""What the actions of a dream are called, and which keys play it, for `gymnasium.utils.play`."""

from __future__ import annotations

import string

from gymnasium.spaces import Discrete, Space

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.memory_maze.simulator import ACTIONS as MEMORY_MAZE_ACTIONS

Keys = dict[tuple[int, ...], int]
"""Key codes pressed together, as pygame and `ord` number them, → action."""

# pygame's codes of the arrows, which must not need pygame to be looked up.
_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906

# Its actions: none, forward, turn left, turn right, forward and left, forward and right.
_MEMORY_MAZE: Keys = {
    (ord("w"),): 1,
    (ord("a"),): 2,
    (ord("d"),): 3,
    (ord("w"), ord("a")): 4,
    (ord("w"), ord("d")): 5,
    (_UP,): 1,
    (_LEFT,): 2,
    (_RIGHT,): 3,
    (_UP, _LEFT): 4,
    (_UP, _RIGHT): 5,
}
_PLAIN = string.digits + string.ascii_lowercase


def action_meanings(env_id: str, actions: Space) -> list[str]:
    """The names of a known environment's actions, else their numbers.

    Args:
        env_id: the real environment that the world model learned.
        actions: the action space.

    Raises:
        EnvironmentUsageError: actions are continuous.
    """
    if not isinstance(actions, Discrete):
        raise EnvironmentUsageError(f"actions from {actions} are continuous and have no names")
    if env_id.startswith("MemoryMaze-") and actions == Discrete(len(MEMORY_MAZE_ACTIONS)):
        return [name.upper() for name in MEMORY_MAZE_ACTIONS]
    return [str(int(actions.start) + i) for i in range(int(actions.n))]


def keys_to_action(env_id: str, actions: Space) -> Keys:
    """The keys of a known environment, else the first action on key 0, … the eleventh on a, …

    Args:
        env_id: the real environment that the world model learned.
        actions: the action space.

    Raises:
        EnvironmentUsageError: actions are continuous, or more than there are plain keys.
    """
    if not isinstance(actions, Discrete) or actions.n > len(_PLAIN):
        raise EnvironmentUsageError(
            f"there are no default keys for actions from {actions}; "
            "give play(env, keys_to_action=...) your own"
        )
    if env_id.startswith("MemoryMaze-") and actions == Discrete(6):
        return dict(_MEMORY_MAZE)
    start = int(actions.start)
    return {(ord(key),): start + i for i, key in enumerate(_PLAIN[: int(actions.n)])}
