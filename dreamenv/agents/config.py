"""What to train, where, and how often to look at it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
    """Learning algorithm: ppo, or recurrent_ppo."""
    steps: int = 100_000
    """Training stops at the end of the first rollout that reaches this many steps."""
    num_envs: int = 16
    """Environments stepped in parallel."""
    seed: int = 0
    """Of the weights, the actions and the training environments."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Entries of the recipe (`dreamenv.agents.recipes.Recipe`) to replace, such as n_steps."""
    memory_from: str | None = None
    """Checkpoint of a world model that watches the real environments beside the agent, so that it
    observes what it would in a dream with `observation="memory"`."""
    frames_from: str | None = None
    """Checkpoint of a world model whose dreams' frames the real environments show: the same entry
    of their observations, the same size. By default that of the dream, where one of `env` and
    `eval_env` is one."""
    only_memory: bool = False
    """Show the agent the world model's memory and no frame: an MLP instead of convolutions."""
    eval_every: int = 25_000
    """Steps between evaluations; 0 switches them off."""
    eval_episodes: int = 8
    """Episodes per evaluation."""
    eval_env: str | None = None
    """Where to evaluate; None evaluates in `env` with `env_kwargs`."""
    eval_env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of `eval_env`."""
    eval_seed: int = 10_000
    """Every evaluation plays the same episodes, drawn from this seed."""
    video: bool = False
    """Save a GIF of the first episode of each evaluation."""
    save_every: int = 10_000
    """Steps between saves of the agent."""
    keep_every: int = 0
    """Steps between copies of the agent that stay, a population to rank; 0 keeps none."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice."""
    device: str = "auto"
    """Torch device; auto takes CUDA if there is one."""
    resume: bool = False
    """Continue the run that stands in `out`, if any."""
    trust_agent: bool = False
    """Resume from a zip of version 0.1, though that runs whatever code its author put there."""
    progress: bool = True
    """Show a progress bar."""

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
        for name in ("out", "resume", "trust_agent", "progress"):
            del described[name]
        return described
