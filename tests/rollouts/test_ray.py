"""A collection on a cluster: the same store to the last byte, whatever becomes of its machines."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from benchmarks.faults.subjects import all_files
from benchmarks.ray_cluster import ray_cluster
from dreamenv.core.backends import LOCAL, Backend
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.seeds import episode_seed
from dreamenv.rollouts.store import RolloutStore

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

FRAMES = 900


def gather(path: Path, workers: int, backend: Backend = LOCAL) -> None:
    """A collection in which one seed kills its process every time."""
    arguments = {"how": "crash", "seeds": [episode_seed(0, 1)], "length": 30}
    more = {"env_kwargs": arguments, "progress": False, "backend": backend}
    policies = ("sticky", "uniform")
    assert collect("failing_env:Failing-v0", FRAMES, policies, workers, path, 0, **more)


def test_a_killed_node_costs_its_episode_and_the_store_is_the_same(tmp_path: Path) -> None:
    with ray_cluster() as cluster:
        node = sorted(cluster.worker_nodes, key=str)[0]
        journal = tmp_path / "ray" / "episodes.jsonl"

        def kill() -> None:
            while not (journal.exists() and journal.read_text("utf-8").count("\n") > 3):
                time.sleep(0.05)
            cluster.remove_node(node, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        gather(tmp_path / "ray", 2, Backend("ray", cluster.address))
        killer.join()
        assert len(cluster.worker_nodes) == 1
    gather(tmp_path / "local", 1)
    (failure,) = RolloutStore(tmp_path / "ray").skipped
    assert failure.died and "SIGSEGV" in failure.reason and "in crash" in failure.where
    assert all_files(tmp_path / "ray") == all_files(tmp_path / "local")
