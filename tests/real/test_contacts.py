"""Which contacts activate which targets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dreamenv.real.memory_maze.simulator_import import import_memory_maze

import_memory_maze()  # before MuJoCo, for which it chooses a renderer
from dreamenv.real.memory_maze.contacts import activate_touched  # noqa: E402


class _Target:
    def __init__(self, geom: int, activated: bool = False) -> None:
        self._geom_id, self._activated, self.material = geom, activated, np.ones(4)

    @property
    def activated(self) -> bool:
        return self._activated


def _physics(contacts: list[tuple[int, int]]) -> Any:
    geoms = np.array(contacts, dtype=np.int32).reshape(-1, 2)
    return SimpleNamespace(
        data=SimpleNamespace(ptr=SimpleNamespace(contact=SimpleNamespace(geom=geoms))),
        bind=lambda material: SimpleNamespace(rgba=material),
    )


@pytest.mark.parametrize("contacts", [[(3, 8)], [(8, 3)], [(1, 2), (2, 4), (8, 3)]])
def test_target_is_activated_by_either_side_of_any_contact(contacts: list[tuple[int, int]]) -> None:
    touched, other = _Target(8), _Target(9)
    activate_touched(_physics(contacts), [other, touched])
    assert touched.activated and touched.material[-1] == 0
    assert not other.activated and other.material[-1] == 1


@pytest.mark.parametrize("contacts", [[], [(1, 2)], [(0, 3), (3, 80)]])
def test_contacts_of_others_activate_nothing(contacts: list[tuple[int, int]]) -> None:
    target = _Target(8)
    activate_touched(_physics(contacts), [target])
    assert not target.activated


def test_activated_target_stays_so() -> None:
    target = _Target(8, activated=True)
    activate_touched(_physics([(1, 2)]), [target])
    assert target.activated
