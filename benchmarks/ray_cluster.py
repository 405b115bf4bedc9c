"""A Ray cluster on this machine: a head without room, and nodes with room for one worker each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
STORE = 80 * 2**20
"""Bytes of a node's object store, about the least that Ray takes."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is gone is noticed within seconds, not within half a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@contextlib.contextmanager
def ray_cluster(nodes: int = 2, path: tuple[str, ...] = ()) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster`; its `worker_nodes` are those that have room.

    Args:
        nodes: how many of them.
        path: folders that come first in the `PYTHONPATH` of its processes.
    """
    from ray.cluster_utils import Cluster

    folders = [*path, str(ROOT), str(ROOT / "tests" / "rollouts")]
    with patch.dict(os.environ, {**SETTINGS, "PYTHONPATH": os.pathsep.join(folders)}):
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, object_store_memory=STORE)
            yield cluster
        finally:
            cluster.shutdown()
