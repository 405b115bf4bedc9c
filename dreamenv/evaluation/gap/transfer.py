"""Was it as good to train in the dream? Agents in full episodes of the real environment.

Every agent plays the same episodes, by seed, so that differences are taken episode by episode.
Intervals say how much the episodes vary, not how much another training run would.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.agents.agent_files import read_progress
from dreamenv.agents.finding import MOST_BYTES, find_agent, is_pickled, is_scripted
from dreamenv.agents.zips import read_agent_data
from dreamenv.core.errors import CheckpointError, ConfigError, UnreadableFileError
from dreamenv.core.reading import read_bytes, read_object
from dreamenv.core.statistics import mean_interval

BASELINE = "random"
RUN = ("env", "algo", "num_envs", "seed")


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
        """How the agent was trained, as plain data; None for a scripted one.

        Of a saved agent `steps` and, where noted, `seconds`; of a run folder `env`, `algo`, … too.
        """
        if is_scripted(self.agent):
            return None
        path = find_agent(self.agent)
        try:
            saved = (
                read_agent_data(read_bytes(path, MOST_BYTES))
                if is_pickled(path)
                else read_progress(path)
            )
        except UnreadableFileError as error:
            raise CheckpointError(f"{path}: {error}; copy or train the agent again") from error
        told = {"steps": saved.get("num_timesteps"), "seconds": saved.get("training_seconds")}
        # Copies kept along training lie one folder below that of the run.
        configs = [folder / "config.json" for folder in (path.parent, path.parent.parent)]
        for config in filter(Path.is_file, configs):
            try:
                run = read_object(config)["config"]
                run = {name: run[name] for name in RUN}
            except (UnreadableFileError, LookupError, TypeError):
                continue  # not that of a run
            return run | told
        return told


@dataclass(frozen=True)
class Transfer:
    """Returns of full episodes in one real environment."""

    real_id: str
    steps: int
    """Steps of each episode."""
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
