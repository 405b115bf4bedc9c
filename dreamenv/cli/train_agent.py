"""`dreamenv train-agent`: train PPO or RecurrentPPO on any Gymnasium id, dreamt or real."""

from __future__ import annotations

import sys
from pathlib import Path

from dreamenv.agents import AgentConfig, train_agent
from dreamenv.cli import INTERRUPTED, exit_code
from dreamenv.cli.options import parse
from dreamenv.core.console import print_anywhere

Options = AgentConfig


def run(options: AgentConfig) -> int:
    """Train, evaluate and save."""
    try:
        path = train_agent(options)
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume continues it", file=sys.stderr)
        return INTERRUPTED
    print(f"saved {path}")
    return 0


def train_recipe(recipe: AgentConfig, path: str, summary: str) -> int:
    """Train one of the recipes in a checkout's `agents/`; its fields are options.

    Args:
        recipe: what the options that are not given come from.
        path: of the recipe's file. summary: what `--help` says first.

    Returns:
        The exit code, as `dreamenv.cli.main` does.
    """
    print_anywhere()
    prog = f"python agents/{Path(path).name}"
    return exit_code(lambda: run(parse(AgentConfig, prog, sys.argv[1:], summary, recipe)))
