"""The settings that decide a collection's episodes, compared with what a store was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.policies import AgentLoader
from dreamenv.rollouts.seeds import HASHED, SPREAD, draw_policy, episode_seed

# What stores that lack an entry were collected with: older ones know fewer.
_FORMERLY: dict[str, Any] = {"seeds": HASHED, "agents": {}, "image_key": ""}


@dataclass(frozen=True)
class CollectSettings:
    """The settings of a collection: episode i is a function of these and i.

    Attributes:
        env_id: Gymnasium id, "module:id" to import a module first.
        policies: policy specs and their weights.
        seed: number of the stream of seeds, see `dreamenv.rollouts.seeds`.
        env_kwargs: keyword arguments of `gymnasium.make`.
        max_episode_steps: cut episodes here (truncated), None for the environment's own limit.
        record_info: keys of numeric, fixed-shape infos to record.
        seeds: how streams are placed, "spread" or "hashed".
        agents: for each policy that is an agent, what identifies it.
        image_key: of the entry of the observations that is the frame; "" if they are pictures, or
            one of them alone is.
        loader: loads agents; not kept in the store.
    """

    env_id: str
    policies: dict[str, float]
    seed: int
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    record_info: tuple[str, ...] = ()
    seeds: str = SPREAD
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    image_key: str = ""
    loader: AgentLoader | None = None

    def to_plain(self) -> dict[str, Any]:
        """The metadata of a store, as it reads when it comes back from JSON.

        Raises:
            RolloutError: the arguments of the environment cannot be written as JSON.
        """
        kept = asdict(replace(self, loader=None))
        del kept["loader"]
        try:
            return json.loads(json.dumps(kept))
        except (TypeError, ValueError) as error:
            raise RolloutError(
                f"the arguments of the environment must be plain data, which a store can keep: "
                f"{error} in {self.env_kwargs}"
            ) from None

    def draw(self, index: int) -> tuple[int, str, int]:
        """Reset seed, policy and policy seed of episode `index`."""
        seed = episode_seed(self.seed, index, self.seeds)
        return (seed, *draw_policy(self.policies, seed))


def stored_settings(metadata: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings that a store was collected with, as `CollectSettings.to_plain` gives them.

    Raises:
        RolloutError: it was not made by `collect`.
    """
    stored = metadata.get("collect") if isinstance(metadata, Mapping) else None
    if not isinstance(stored, Mapping):
        raise RolloutError(f"{path} was not made by collect; choose another --out")
    return {**_FORMERLY, **stored}


def collected_with(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the environment of a store was made with, by the store's metadata.

    Without a limit of steps, which is that of the episodes collected and no trait of the world.
    """
    stored = metadata.get("collect")
    kwargs = stored.get("env_kwargs") if isinstance(stored, Mapping) else None
    kwargs = dict(kwargs) if isinstance(kwargs, Mapping) else {}
    return {name: value for name, value in kwargs.items() if name != "max_episode_steps"}


def require_same_settings(
    stored: Mapping[str, Any], settings: Mapping[str, Any], path: Path
) -> None:
    """Compare what a store was collected with and what is asked for.

    Raises:
        RolloutError: they differ; names the first difference.
    """
    for key, value in settings.items():
        if stored.get(key) != value:
            raise RolloutError(
                f"{path} was collected with {key} = {stored.get(key)}, not {value}; "
                "repeat that to continue it, or choose another --out"
            )
