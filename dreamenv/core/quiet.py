"""Keeps messages of other packages that no user of this one can act on off the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def silence_gym_notice() -> None:
    """Let `import gym` pass, from now on, without its notice that it is unmaintained.

    Memory Maze needs gym to be installed, and Stable-Baselines3 imports whatever gym it finds:
    without this, a command prints the notice once for each of its processes. For programs of our
    own, before either is imported; a library's import is wrapped in `without_gym_notice` instead.
    """
    _notices().clear()


@contextmanager
def without_gym_notice() -> Iterator[None]:
    """Within this context `import gym` passes without its notice; afterwards all is as before."""
    notices = _notices()
    kept = dict(notices)
    notices.clear()
    try:
        yield
    finally:
        notices.update(kept)


def _notices() -> dict[str, str]:
    """What gym prints at its import, by its version; gym itself is not imported."""
    try:
        from gym_notices import notices
    except ImportError:
        return {}
    return notices.notices
