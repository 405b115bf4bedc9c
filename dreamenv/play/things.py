"""`Thing`: a folder that `dreamenv view` shows: what stands in it, as plain data and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamenv.core.errors import ConfigError, DreamEnvError, UnreadableFileError
from dreamenv.core.hub import is_hub_name
from dreamenv.core.json_lines import read_json_lines
from dreamenv.core.reading import read_object
from dreamenv.evaluation.life.report import life_rows
from dreamenv.real.plugin import family_of
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import describe
from dreamenv.rollouts.writer import JOURNAL
from dreamenv.world_model.checkpoint import BUNDLED, CONFIG, WEIGHTS, checkpoint_folder, read_config

METRICS, LIFE, GAP, CARD = "metrics.jsonl", "life.json", "gap.html", "card.md"
MOST_FRAMES = 64
"""Frames of an episode that are sent at once."""
MOST_POINTS = 1500
"""Points of a curve; of longer ones every so many are sent."""


@dataclass(frozen=True)
class Thing:
    """One path that was given to `dreamenv view`."""

    path: str
    """As it was typed."""

    @cached_property
    def folder(self) -> Path:
        """Where it stands."""
        named = self.path.startswith(BUNDLED) or is_hub_name(self.path)
        return checkpoint_folder(self.path) if named else Path(self.path)

    @cached_property
    def life(self) -> Path | None:
        """The measures of a dream's life, if they are here."""
        if self.folder.is_file():
            return self.folder
        return self.folder / LIFE if (self.folder / LIFE).is_file() else None

    @property
    def kinds(self) -> list[str]:
        """What stands here, of `rollouts`, `run`, `checkpoint`, `life`, `gap`."""
        folder = self.folder
        found = {
            "rollouts": (folder / JOURNAL).is_file(),
            "run": (folder / METRICS).is_file(),
            "checkpoint": (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file(),
            "life": self.life is not None,
            "gap": (folder / GAP).is_file(),
        }
        return [kind for kind, here in found.items() if here]

    def require(self) -> None:
        """Insist that there is something to see.

        Raises:
            ConfigError: there is nothing that this package has written.
        """
        if not self.kinds:
            raise ConfigError(
                f"there is nothing to view at {self.path}: no rollouts ({JOURNAL}), checkpoint "
                f"({CONFIG}), run ({METRICS}), or report ({LIFE}, {GAP})"
            )

    @property
    def store(self) -> RolloutStore:
        """The rollouts as they are now: a collection may be going on."""
        return RolloutStore(self.folder)

    def rollouts(self) -> dict[str, Any]:
        """What a page needs to list the episodes of a store."""
        store = self.store
        family = family_of(store.env_id)
        count = int(getattr(store.action_space, "n", 0))
        named = family is not None and len(family.actions) == count
        return {
            "env": store.env_id,
            "about": describe(store) if store.num_episodes else "no episodes yet",
            "size": store.observation_space.shape[:2],
            "actions": list(family.actions) if family is not None and named else [],
            "episodes": [
                {
                    "steps": int(store.lengths[i]),
                    "return": _short(store.returns[i]),
                    "events": int(store.reward_events[i]),
                    "policy": store.policies[i],
                    "seed": store.seeds[i],
                }
                for i in range(store.num_episodes)
            ],
        }

    def episode(self, number: int) -> dict[str, Any]:
        """Actions, rewards, end and poses of an episode."""
        store = self.store
        if not 0 <= number < store.num_episodes:
            raise ConfigError(f"there is no episode {number}; there are {store.num_episodes}")
        steps = store.read_steps(number)
        info = store.read_info(number)
        return {
            "actions": steps["action"].tolist(),
            "rewards": [_short(value) for value in steps["reward"]],
            "terminated": bool(steps["terminated"][-1:].any()),
            "poses": _poses(store, number),
            "layout": info["maze_layout"][0].tolist() if "maze_layout" in info else None,
            "infos": sorted(info),
        }

    def frames(self, number: int, start: int, count: int) -> NDArray[np.uint8]:
        """Some frames of an episode, one below another: (count · H, W, 1 or 3)."""
        store = self.store
        if not 0 <= number < store.num_episodes:
            raise ConfigError(f"there is no episode {number}; there are {store.num_episodes}")
        last = int(store.lengths[number])
        stop = min(last, start + min(count, MOST_FRAMES) - 1)
        frames = store.read(number, max(0, min(start, stop)), stop).observation
        return frames.reshape(-1, *frames.shape[2:])

    def checkpoint(self) -> dict[str, Any]:
        """The card and the facts of a checkpoint."""
        config, provenance = read_config(self.folder)
        card = self.folder / CARD
        dynamics = config.dynamics
        told = {
            "environment": provenance.get("env_id"),
            "frames": f"{config.frame_size[0]} × {config.frame_size[1]} × {config.frame_channels}",
            "actions": config.actions.n or f"{len(config.actions.low)} numbers",
            "layers": len(dynamics.scan_blocks),
            "width": dynamics.width,
            "passes per frame": config.sampler.steps,
            "updates": provenance.get("dynamics_updates"),
            "episodes learnt from": provenance.get("episodes"),
            "steps learnt from": provenance.get("environment_steps"),
            "weights": f"{(self.folder / WEIGHTS).stat().st_size / 1e6:.1f} MB",
        }
        return {
            "facts": [[name, str(value)] for name, value in told.items() if value is not None],
            "card": card.read_text("utf-8", errors="replace") if card.is_file() else "",
            "pictures": self.pictures,
        }

    def run(self, after: int) -> dict[str, Any]:
        """The metrics of a training, as curves.

        Args:
            after: records that the page has already; how many there are is in the answer.
        """
        records = list(read_json_lines(self.folder / METRICS))
        told: dict[str, dict[str, list[list[float]]]] = {}
        for record in records if len(records) != after else []:
            chart = told.setdefault(f"{record.get('stage')}: {record.get('kind')}", {})
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ("step", "seconds"):
                    if math.isfinite(value):
                        chart.setdefault(name, []).append([record["step"], value])
        charts = {
            title: {name: _thinned(points) for name, points in curves.items()}
            for title, curves in told.items()
        }
        last = records[-1] if records else {}
        return {
            "records": len(records),
            "step": last.get("step"),
            "stage": last.get("stage"),
            "seconds": last.get("seconds"),
            "charts": charts,
            "logs": str(self.folder / "tensorboard"),
            "pictures": self.pictures,
        }

    def life_table(self) -> dict[str, Any]:
        """The measures of a dream's life, as `dreamenv life` prints them.

        Raises:
            ConfigError: there are none here.
            DreamEnvError: what is here is something else.
        """
        if self.life is None:
            raise ConfigError("there are no measures of a dream's life here")
        try:
            result = read_object(self.life)
            rows = life_rows(result)
        except (UnreadableFileError, LookupError, TypeError, AttributeError) as error:
            raise DreamEnvError(f"{self.life} holds no measures of a dream's life") from error
        picture = self.life.with_suffix(".png")
        name = picture.name if picture.is_file() else ""
        return {"rows": rows, "command": str(result.get("command", "")), "picture": name}

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures that stand here."""
        return (
            sorted(path.name for path in self.folder.glob("*.png")) if self.folder.is_dir() else []
        )

    def picture(self, name: str) -> Path:
        """The file of a picture that stands here.

        Raises:
            ConfigError: there is none of this name.
        """
        beside = [self.life.with_suffix(".png")] if self.life is not None else []
        files = {path.name: path for path in beside if path.is_file()}
        files |= {found: self.folder / found for found in self.pictures}
        if name not in files:  # which also keeps paths out
            raise ConfigError(f"there is no picture {name!r} here")
        return files[name]


def _poses(store: RolloutStore, number: int) -> list[list[float]] | None:
    """[x, y, and the direction if it is told] of every frame; None where nothing was recorded."""
    family = family_of(store.env_id)
    try:
        poses = read_poses(store, number, family.pose if family is not None else ())
    except DreamEnvError:
        return None
    return np.round(poses, 3).tolist() if poses.shape[1] >= 2 else None


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _thinned(points: Sequence[Any]) -> list[Any]:
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    return [*points[:-1:every], points[-1]]
