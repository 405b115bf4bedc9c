"""A workspace is one user's at a time, and is used again."""

from __future__ import annotations

from itertools import count

from dreamenv.world_model.runtime.workspaces import MOST_IDLE, Workspaces


def numbered() -> Workspaces[tuple[int, int]]:
    """Workspaces that are their number of slots, and how many were made before."""
    made = count()
    return Workspaces(lambda slots: (slots, next(made)))


def test_who_asks_while_another_has_one_gets_one_of_its_own() -> None:
    workspaces = numbered()
    with workspaces.lent(4) as first, workspaces.lent(4) as second:
        assert first != second
    with workspaces.lent(4) as third:
        assert third in (first, second)


def test_each_number_of_slots_keeps_its_own() -> None:
    workspaces = numbered()
    for slots in (1, 64, 1, 64, 1):
        with workspaces.lent(slots) as lent:
            assert lent == (slots, 0 if slots == 1 else 1)


def test_no_more_are_kept_than_are_worth_it() -> None:
    workspaces = numbered()
    for slots in range(10):
        with workspaces.lent(slots):
            pass
    for slots, made in (((9, 9)), ((0, 10))):
        with workspaces.lent(slots) as lent:
            assert lent == (slots, made)
    assert len(workspaces._idle) == MOST_IDLE
