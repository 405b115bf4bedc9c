"""The folder of a run: what lies where, and whether it may be written to."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamenv.agents.config import AgentConfig
from dreamenv.agents.finding import EARLIER_FILE, FILE, PICKLED, SAFE
from dreamenv.agents.recipes import Recipe
from dreamenv.core.errors import ConfigError
from dreamenv.core.event_files import forget_events_after
from dreamenv.core.files import atomic_write_json, atomic_write_text
from dreamenv.core.json_lines import keep_json_lines, read_json_lines
from dreamenv.core.locks import LOCK
from dreamenv.core.reading import is_stray, read_object

FIXED = (
    *("algo", "env", "env_kwargs", "memory_from", "frames_from", "only_memory"),
    *("num_envs", "seed", "hyperparameters"),
)
"""What a resumed run may not change. Its length, evaluations and device may."""


class RunFolder:
    """`agent.safetensors`, `config.json`, `eval.jsonl` and folders for the rest, in one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent = path / FILE
        self.config = path / "config.json"
        self.evaluations = path / "eval.jsonl"
        self.tensorboard = path / "tensorboard"

    def saved_agent(self) -> Path:
        """The agent to continue from, which in a run of version 0.1 is a zip."""
        earlier = self.path / EARLIER_FILE
        return earlier if earlier.exists() and not self.agent.exists() else self.agent

    def video_path(self, step: int) -> Path:
        """GIF of the evaluation after `step` steps."""
        return self.path / "videos" / f"step_{step:09d}.gif"

    def kept_path(self, step: int) -> Path:
        """Copy of the agent after `step` steps."""
        return self.path / "kept" / f"step_{step:09d}{SAFE}"

    def episodes_path(self, step: int) -> Path:
        """Folder of the episodes under way in which the agent was saved after `step` steps."""
        return self.path / "resume" / f"step_{step:09d}"

    def last_kept_step(self) -> int:
        """Step count of the latest copy; 0 if there is none."""
        return max(map(_step_of, self._kept()), default=0)

    def _kept(self) -> list[Path]:
        """All copies, those of version 0.1 too."""
        found = (self.path / "kept").glob("step_*")
        return [path for path in found if path.suffix in (SAFE, PICKLED)]

    def check(self, config: AgentConfig) -> bool:
        """Whether there is an agent to continue from, in a folder that is held; writes nothing.

        Raises:
            ConfigError: the folder holds a run and `resume` is not set, holds something else, or
                holds a run of another algorithm, environment, seed or recipe.
        """
        names = [entry.name for entry in self.path.iterdir() if entry.name != LOCK]
        if not all(map(is_stray, names)):
            if not config.resume:
                raise ConfigError(
                    f"{self.path} already exists; continue it with --resume, "
                    "or choose another --out"
                )
            self._check_same_run(config)
        return self.saved_agent().exists()

    def describe(self, config: AgentConfig, recipe: Recipe) -> None:
        """Write down what this run is, for people and for `check`."""
        atomic_write_json(
            self.config,
            {
                "config": config.to_json(),
                "recipe": asdict(recipe),
                "versions": {name: version(name) for name in ("stable-baselines3", "torch")},
            },
        )

    def _check_same_run(self, config: AgentConfig) -> None:
        try:
            stored = read_object(self.config)["config"]
            if not isinstance(stored, dict):
                raise ValueError("it describes no run")
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{self.path} holds no agent run that could be continued ({self.config.name} is "
                "missing or damaged); choose another --out"
            ) from error
        wanted = config.to_json()
        changed = [
            f"{name} was {stored.get(name)!r}, now {wanted[name]!r}"
            for name in FIXED
            if stored.get(name) != wanted[name]
        ]
        if changed:
            raise ConfigError(
                f"{self.path} holds another run: {'; '.join(changed)}. "
                "Resume with the same settings, or choose another --out"
            )

    def forget_after(self, step: int) -> None:
        """Take out of the logs what a killed run did after the agent that is continued.

        Raises:
            CheckpointError: a line of `eval.jsonl` is damaged.
        """
        keep_json_lines(self.evaluations, lambda line: line.get("step", 0) <= step)
        forget_events_after(self.tensorboard, step)
        forget_events_after(self.tensorboard, self.last_evaluated_step(), "eval/")
        for path in self._kept():
            if _step_of(path) > step:
                path.unlink()

    def last_evaluated_step(self) -> int:
        """Step count of the latest evaluation; 0 if there is none."""
        lines = read_json_lines(self.evaluations)
        return max((line.get("step", 0) for line in lines), default=0)

    def append_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Add a line. The file is replaced as a whole, so that no reader meets half a line."""
        lines = [json.dumps(line) for line in [*read_json_lines(self.evaluations), evaluation]]
        atomic_write_text(self.evaluations, "\n".join(lines) + "\n")


def _step_of(kept: Path) -> int:
    """The step count in the name of a copy."""
    return int(kept.stem.removeprefix("step_"))
