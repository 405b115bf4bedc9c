"""`dreamenv train-agent`: train PPO or RecurrentPPO on any Gymnasium id, dreamt or real."""

from __future__ import annotations

import sys

from dreamenv.agents import AgentConfig, train_agent
from dreamenv.cli import INTERRUPTED

Options = AgentConfig


def run(options: AgentConfig) -> int:
    """Train, evaluate and save."""
    try:
        path = train_agent(options)
    except KeyboardInterrupt:
        print(
            "interrupted; the same command with --resume --trust-agent continues it",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(f"saved {path}")
    return 0
