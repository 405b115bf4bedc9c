"""Keeps messages of other packages that no user of this one can act on off the screen."""

from __future__ import annotations


def silence_gym_notice() -> None:
    """Let `import gym` pass without its notice that it is unmaintained.

    Memory Maze needs gym to be installed, and Stable-Baselines3 imports whatever gym it finds:
    without this, training prints the notice once for each worker process. Call it before either.
    """
    try:
        from gym_notices import notices
    except ImportError:
        return
    notices.notices.clear()
