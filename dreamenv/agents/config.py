"""What to train, where, and how often to look at it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dreamenv.core.errors import ConfigError

ALGORITHMS = ("ppo", "recurrent_ppo")


@dataclass(frozen=True)
class AgentConfig:
    """One training run. Steps count environment steps summed over the parallel environments."""

    env: str
    """Environment id; `module:Id-v0` imports the module that registers it first."""
    out: Path
    """Folder of the run: agent, TensorBoard logs, evaluations, videos."""
    algo: str = "ppo"
    steps: int = 100_000
    """Training stops at the end of the first rollout that reaches this many steps."""
    num_envs: int = 16
    seed: int = 0
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Replacements for entries of the recipe (`dreamenv/agents/recipes.py`)."""
    memory_from: str | None = None
    """Checkpoint of a world model that watches the real environments beside the agent, so that it
    observes what it would in a dream with `observation="memory"`."""
    only_memory: bool = False
    """Show the agent the world model's memory and no frame: an MLP instead of convolutions."""
    eval_every: int = 25_000
    """Steps between evaluations; 0 switches them off."""
    eval_episodes: int = 8
    eval_env: str | None = None
    """Where to evaluate; None evaluates in `env` with `env_kwargs`."""
    eval_env_kwargs: dict[str, Any] = field(default_factory=dict)
    eval_seed: int = 10_000
    """Every evaluation plays the same episodes, drawn from this seed."""
    video: bool = False
    """Save a GIF of the first episode of each evaluation."""
    save_every: int = 10_000
    keep_every: int = 0
    """Steps between copies of the agent that stay, a population to rank; 0 keeps none."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""
    device: str = "auto"
    resume: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values before anything is built.

        Raises:
            ConfigError: names the offending value and the allowed ones.
        """
        if self.algo not in ALGORITHMS:
            raise ConfigError(f"unknown algorithm {self.algo!r}; choose {' or '.join(ALGORITHMS)}")
        minimum = {"steps": 1, "num_envs": 1, "eval_episodes": 1, "save_every": 1}
        minimum |= {"seed": 0, "eval_seed": 0, "eval_every": 0, "threads": 0, "keep_every": 0}
        for name, least in minimum.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be at least {least}")
        if self.video and not self.eval_every:
            raise ConfigError("videos are recorded during evaluation: set eval_every above 0")
        if self.eval_env_kwargs and self.eval_env is None:
            raise ConfigError("eval_env_kwargs has no effect without eval_env")

    def evaluation_env(self) -> tuple[str, dict[str, Any]]:
        """Id and keyword arguments of the environment that evaluations play in."""
        if self.eval_env is None:
            return self.env, self.env_kwargs
        return self.eval_env, self.eval_env_kwargs

    def to_json(self) -> dict[str, Any]:
        """Everything that describes the run itself; not where it lies or how it was started."""
        described = asdict(self)
        for name in ("out", "resume", "progress"):
            del described[name]
        return described


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `train_agent.py`; defaults are those of `AgentConfig`."""
    defaults = {entry.name: entry.default for entry in fields(AgentConfig)}

    def add(name: str, kind: Any, summary: str) -> None:
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=kind, default=defaults[name], help=summary)

    def add_pairs(flag: str, name: str, summary: str) -> None:
        parser.add_argument(
            flag, dest=name, nargs="+", type=_pair, default=[], metavar="KEY=VALUE", help=summary
        )

    parser.add_argument("--env", required=True, help="environment id, dreamt or real")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--algo", choices=ALGORITHMS, default="ppo", help="learning algorithm")
    add("steps", int, "environment steps to train for, over all environments together")
    add("num_envs", int, "environments stepped in parallel")
    add("seed", int, "seed of the weights, the actions and the training environments")
    add_pairs("--env-kwargs", "env_kwargs", "arguments of the environment")
    add_pairs("--set", "hyperparameters", "entries of the recipe to replace, for example n_steps")
    memory = "world model whose memory is shown in real environments: bundled:NAME or a folder"
    parser.add_argument("--memory-from", metavar="CHECKPOINT", help=memory)
    blind = "show the agent the memory alone: no convolutions, several times faster updates"
    parser.add_argument("--only-memory", action="store_true", help=blind)
    add("eval_every", int, "steps between evaluations; 0: none")
    add("eval_episodes", int, "episodes per evaluation")
    add("eval_env", str, "environment id to evaluate in, if not --env")
    add_pairs("--eval-env-kwargs", "eval_env_kwargs", "arguments of --eval-env")
    add("eval_seed", int, "seed of the evaluation episodes, the same at every evaluation")
    parser.add_argument("--video", action="store_true", help="save a GIF at each evaluation")
    add("save_every", int, "steps between saves of the agent")
    add("keep_every", int, "steps between copies of the agent that are kept; 0: none")
    add("threads", int, "CPU threads of torch; 0: torch decides")
    add("device", str, "torch device, or auto")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out, if any")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="no bar")


def config_from_arguments(arguments: argparse.Namespace) -> AgentConfig:
    """Turn parsed arguments into a configuration.

    Raises:
        ConfigError: an impossible value.
    """
    values = vars(arguments)
    for name in ("env_kwargs", "hyperparameters", "eval_env_kwargs"):
        values[name] = dict(values[name])
    return AgentConfig(**values)


def _pair(text: str) -> tuple[str, Any]:
    """`horizon=256` → ("horizon", 256): the value is JSON where it parses as such, else text."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
