"""Was it as good to train in the dream? Agents in full episodes of the real environment.

Every agent plays the same episodes, by seed, so that differences are taken episode by episode.
Intervals say how much the episodes vary, not how much another training run would.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.agents.loading import find_zip, is_scripted
from dreamenv.core.errors import ConfigError
from dreamenv.core.statistics import mean_interval

BASELINE = "random"


@dataclass(frozen=True)
class Contender:
    """An agent and what it stands for, such as "trained in the dream"."""

    label: str
    agent: str

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read "label=agent".

        Raises:
            ConfigError: it is written otherwise.
        """
        label, equals, agent = text.partition("=")
        if not (label and equals and agent):
            raise ConfigError(
                f"a contender is written label=agent, such as dream=runs/dream, not {text!r}"
            )
        return cls(label, agent)

    def training(self) -> dict[str, Any] | None:
        """Of a saved agent `steps` and, where noted, `seconds`; of a run folder `env`, `algo`, …

        None for a scripted agent.
        """
        if is_scripted(self.agent):
            return None
        path = find_zip(self.agent)
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("data"))
        told = {"steps": saved.get("num_timesteps"), "seconds": saved.get("training_seconds")}
        # Copies kept along training lie one folder below that of the run.
        configs = [folder / "config.json" for folder in (path.parent, path.parent.parent)]
        for config in filter(Path.is_file, configs):
            run = json.loads(config.read_text("utf-8")).get("config", {})
            return {name: run.get(name) for name in ("env", "algo", "num_envs", "seed")} | told
        return told


@dataclass(frozen=True)
class Transfer:
    """Returns of full episodes in one real environment."""

    real_id: str
    steps: int
    """Of each episode."""
    contenders: list[Contender]
    returns: np.ndarray
    """(contenders, episodes); column i is the episode of one seed for all."""
    seed: int = 0

    def by_label(self) -> dict[str, np.ndarray]:
        """Label → (episodes,) returns, averaged over the agents of that label."""
        labels = dict.fromkeys(contender.label for contender in self.contenders)
        return {
            label: np.mean(
                [row for c, row in zip(self.contenders, self.returns, strict=True)
                 if c.label == label],
                axis=0,
            )
            for label in labels
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Means, and every difference of two labels, as plain data."""
        labels = self.by_label()
        return {
            "real": self.real_id,
            "steps_per_episode": self.steps,
            "episodes": self.returns.shape[1],
            "labels": {
                label: mean_interval(values, seed=self.seed).to_json()
                for label, values in labels.items()
            },
            "agents": [
                {
                    "label": contender.label,
                    "agent": contender.agent,
                    "training": contender.training(),
                    "return": mean_interval(row, seed=self.seed).to_json(),
                    "returns": row.tolist(),
                }
                for contender, row in zip(self.contenders, self.returns, strict=True)
            ],
            "differences": [
                {
                    "of": a,
                    "and": b,
                    **mean_interval(labels[a] - labels[b], seed=self.seed).to_json(),
                }
                for a, b in itertools.combinations(labels, 2)
            ],
        }


def with_baseline(contenders: list[Contender]) -> list[Contender]:
    """The contenders, and an agent that acts at random if none does."""
    if any(contender.agent == BASELINE for contender in contenders):
        return contenders
    return [*contenders, Contender(BASELINE, BASELINE)]
