"""Names of a dream's actions, and the keys that play it, for `gymnasium.utils.play`."""

from __future__ import annotations

import string

from gymnasium.spaces import Discrete, Space

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.plugin import Family, Keys, family_of

_PLAIN = string.digits + string.ascii_lowercase


def action_meanings(env_id: str, actions: Space) -> list[str]:
    """The names of the actions of a known environment, else their numbers.

    Args:
        env_id: the real environment that the world model learned.
        actions: the action space.

    Raises:
        EnvironmentUsageError: actions are not numbered, but vectors.
    """
    if not isinstance(actions, Discrete):
        raise EnvironmentUsageError(f"actions from {actions} are not numbered and have no names")
    family = family_of(env_id)
    if family is not None and _are_of(family, actions):
        return [name.upper() for name in family.actions]
    return [str(int(actions.start) + i) for i in range(int(actions.n))]


def keys_to_action(env_id: str, actions: Space) -> Keys:
    """The keys of a known environment, else the first action on key 0, … the eleventh on a, …

    Args:
        env_id: the real environment that the world model learned.
        actions: the action space.

    Raises:
        EnvironmentUsageError: actions are not numbered, or more than there are plain keys.
    """
    if not isinstance(actions, Discrete) or actions.n > len(_PLAIN):
        raise EnvironmentUsageError(
            f"there are no default keys for actions from {actions}; "
            "give play(env, keys_to_action=...) your own"
        )
    family, start = family_of(env_id), int(actions.start)
    if family is not None and family.keys and _are_of(family, actions):
        return {codes: start + action for codes, action in family.keys.items()}
    return {(ord(key),): start + i for i, key in enumerate(_PLAIN[: int(actions.n)])}


def _are_of(family: Family, actions: Discrete) -> bool:
    """Whether these are the usual actions of the family, wherever their numbers begin."""
    return bool(family.actions) and int(actions.n) == len(family.actions)
