"""Episodes that two stores share: one is then no test of what is learnt from the other."""

from __future__ import annotations

from typing import Any

from dreamenv.rollouts.store import RolloutStore


def shared_episodes(data: RolloutStore, held_out: RolloutStore) -> int:
    """Count the episodes of `held_out` that are in `data`, too.

    Between stores that were collected from one environment, those of equal reset seeds are: they
    begin in the same place, whatever policy acts there. Otherwise, and where nobody knows them,
    seeds mean nothing, and episodes are the same if all that their lines say of them is, down to
    the compressed bytes.
    """
    by_seed = _environment(data) is not None and _environment(data) == _environment(held_out)
    known = set(_keys(data, by_seed))
    return sum(key in known for key in _keys(held_out, by_seed))


def _environment(store: RolloutStore) -> Any:
    settings = store.metadata.get("collect")
    if not isinstance(settings, dict):
        return None
    return settings.get("env_id"), settings.get("env_kwargs")


def _keys(store: RolloutStore, by_seed: bool) -> list[Any]:
    if not by_seed:
        return store.identities
    pairs = zip(store.seeds, store.identities, strict=True)
    return [identity if seed is None else seed for seed, identity in pairs]
