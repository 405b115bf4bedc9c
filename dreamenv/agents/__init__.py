"""Stable-Baselines3 recipes that train an agent on any Gymnasium id, dreamt or real."""

from __future__ import annotations

from pathlib import Path

from dreamenv.agents.config import AgentConfig
from dreamenv.core.errors import MissingDependencyError
from dreamenv.core.quiet import silence_gym_notice

__all__ = ["AgentConfig", "train_agent"]

# Here and not in `train_agent`: worker processes import this package before Stable-Baselines3.
silence_gym_notice()


def train_agent(config: AgentConfig) -> Path:
    """Train, evaluate and save one agent; the whole of `dreamenv train-agent` behind one call.

    Returns:
        The path of the saved agent, `<out>/agent.safetensors`: plain data, which `load_agent` and
        every command read, and of which `load_sb3` makes an agent of Stable-Baselines3.

    Raises:
        ConfigError: an impossible configuration, an unknown environment id, a folder that is
            already taken, or a resumed run that contradicts the stored one.
        MissingDependencyError: Stable-Baselines3 or sb3-contrib is not installed.
        DreamEnvError: the run was stopped by a dead environment worker or a full disk.
    """
    try:
        # torch and Stable-Baselines3 load here, not on import
        from dreamenv.agents.training import run
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "dreamenv"):
            raise
        raise MissingDependencyError(
            f"training agents needs {package}, which is not installed; "
            'run: pip install "dreamenv[agents]"'
        ) from error
    return run(config)
