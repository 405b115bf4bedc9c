"""Appends counting episodes until it is killed, printing the number of each committed one."""

from __future__ import annotations

import sys

from counting_episodes import DISCRETE, counting_episode
from gymnasium.spaces import Box

from dreamenv.rollouts.store import RolloutWriter

SHAPE = (32, 32, 3)


def episode_number(index: int):
    """Episode `index`: its length, too, follows from the index."""
    return counting_episode(60 + 37 * index % 1100, seed=index, shape=SHAPE)


if __name__ == "__main__":
    import numpy as np

    space = Box(0, 255, SHAPE, np.uint8)
    with RolloutWriter(sys.argv[1], "Counting-v0", space, DISCRETE) as writer:
        print("open", flush=True)
        while True:
            index = writer.num_episodes
            writer.append(episode_number(index))
            print(index, flush=True)
