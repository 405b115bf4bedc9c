"""What users of other libraries do runs on an untrained dream, with nothing to change.

Those libraries that developers do not have are for `make clients`.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.vector import SyncVectorEnv

from benchmarks.clients import cleanrl, gymnasium_vectors, gymnasium_wrappers, stable_baselines3
from benchmarks.clients.__main__ import CLIENTS, DOCS
from benchmarks.clients.checks import NOTHING, Check, World, outcome
from benchmarks.clients.page import clients_table as table
from tests.conftest import save_debug_checkpoint

HERE = [
    pytest.param(check, id=check.what)
    for client in (gymnasium_vectors, gymnasium_wrappers, cleanrl, stable_baselines3)
    for check in client.CHECKS
    if not check.processes and all(map(importlib.util.find_spec, check.needs))
]


@pytest.mark.parametrize("check", HERE)
def test_a_client_runs(debug_checkpoint: Path, check: Check) -> None:
    arguments = {"checkpoint": debug_checkpoint, "horizon": 2, "denoising_steps": 1}
    check.run(World("DreamEnv-v0", arguments, horizon=2))


def test_wrappers_of_continuous_actions(tmp_path: Path, box_store: Path) -> None:
    """Wrapping the batch is wrapping each slot."""
    folder = save_debug_checkpoint(tmp_path / "box", box_store)
    world = World("DreamEnv-v0", {"checkpoint": folder, "horizon": 2, "denoising_steps": 1})
    settings = {"ClipAction": {}, "RescaleAction": {"min_action": -1.0, "max_action": 1.0}}
    for name, kwargs in settings.items():
        single, batched = getattr(wrappers, name), getattr(wrappers.vector, name)
        make = partial(made_with, world, partial(single, **kwargs))
        each = SyncVectorEnv([make] * 2)
        together = batched(SyncVectorEnv([world.make] * 2), **kwargs)
        gymnasium_vectors.walk_alike(together, each, 3)
    gymnasium_wrappers.play(wrappers.DiscretizeAction(world.make(), 3), 1)


def made_with(world: World, wrap: Callable[[gymnasium.Env], gymnasium.Env]) -> gymnasium.Env:
    return wrap(world.make())


class Nested(gymnasium.Env):
    """An environment whose info at resets nobody can batch."""

    observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **kwargs: object) -> tuple[np.ndarray, dict]:
        return np.zeros((64, 64, 3), np.uint8), {"source": {"near_reward": None}}


def test_a_check_fails_where_infos_cannot_be_batched() -> None:
    gymnasium.register("Nested-v0", entry_point=Nested, max_episode_steps=4)
    try:
        told = outcome(gymnasium_vectors.CHECKS[0], World("Nested-v0", dream=False))
    finally:
        del gymnasium.registry["Nested-v0"]
    assert told == "AssertionError: infos are numbers"


def test_the_stored_results_are_of_every_client_and_on_the_page() -> None:
    result = json.loads((DOCS / "results" / "clients.json").read_text())
    assert [*result["clients"]] == [*CLIENTS]
    page = (DOCS / "clients.md").read_text()
    assert table(result) in page
    for client in result["clients"].values():
        for check in client["checks"]:
            assert {check["dream"], check.get("maze", "passed")} == {"passed"}, check["what"]


def test_the_table_tells_what_failed_and_what_to_change() -> None:
    checks = [
        {"what": "`a`", "change": NOTHING, "dream": "passed", "maze": "KeyError: 'a|b'"},
        {"what": "`b`", "change": "x=1", "dream": "passed"},
    ]
    clients = {
        "lib": {"client": "Lib", "versions": "lib 1.0", "checks": checks},
        "gone": {"client": "Gone", "versions": "", "missing": "No module", "checks": []},
    }
    rows = table({"worlds": {"dream": [], "maze": []}, "clients": clients}).splitlines()
    assert rows[2] == r"| Lib<br>lib 1.0 | `a` | passed | KeyError: 'a\|b' | nothing |"
    assert rows[3] == "|  | `b` | passed | — | x=1 |"
    assert "could not be imported: No module" in rows[4]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
