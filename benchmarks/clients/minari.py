"""Minari: a data set of episodes with their infos, written, read, its environment made again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import minari
import numpy as np

from benchmarks.clients.checks import Check, World, require

PACKAGES = ("minari", "h5py")


def dataset(world: World) -> None:
    """Two episodes and the beginning of a third, with infos."""
    expected = world.make().reset(seed=0)[1]
    with tempfile.TemporaryDirectory() as folder, datasets_in(folder):
        env = minari.DataCollector(world.make(), record_infos=True, jpeg_encoding=False)
        frames = []
        for seed in range(2):
            frames.append(env.reset(seed=seed)[0])
            for _ in range(world.horizon):
                env.step(1)
        env.reset()
        env.step(1)
        env.create_dataset("dream/test-v0", algorithm_name="forward")
        env.close()
        stored = minari.load_dataset("dream/test-v0")
        for seed in range(2):
            episode = stored[seed]
            require(len(episode.rewards) == world.horizon, "steps")
            require((episode.observations[0] == frames[seed]).all(), "frames")
            require(episode.infos.keys() == expected.keys(), "the infos' keys")
            for name, values in episode.infos.items():
                shape = (world.horizon + 1, *np.shape(expected[name]))
                require(values.shape == shape, f"{name} at the reset and every step")
        again = stored.recover_environment()
        require((again.reset(seed=1)[0] == frames[1]).all(), "the environment is made again")


@contextmanager
def datasets_in(folder: str) -> Iterator[None]:
    """Let Minari keep its data sets in a folder."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


CHECKS = (Check("`DataCollector(record_infos=True)`, `recover_environment`", dataset),)
