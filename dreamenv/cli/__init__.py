"""The `dreamenv` command: one verb per file.

A verb's module has `Options`, a dataclass whose fields are its options, and `run(options)`, which
returns the exit code: 0, 2 for a user's mistake, 130 when interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module

from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError

VERBS = {
    "collect": "record rollouts of an environment",
    "inspect": "describe a rollout store and draw some of its frames",
    "train": "train a world model on rollouts",
    "train-agent": "train an agent in an environment, dreamt or real",
    "gap": "measure how far to trust what agents do in a dream",
    "trust": "calibrate how far to trust a checkpoint's frames",
    "compare": "train and measure a whole grid of world models (from a checkout)",
    "doctor": "say what runs on this machine, and what to install",
}
"""Verb → what it does; `train-agent` lives in `train_agent.py`, and so on."""
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's mistake prints one clear line and returns 2."""
    print_anywhere()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:2] == ["rollouts", "inspect"]:  # as version 0.1 spelt it
        arguments = arguments[1:]
    if not arguments or arguments[0] not in VERBS:
        print(_usage())
        return 0 if arguments in ([], ["-h"], ["--help"]) else 2
    return run_verb(arguments[0], arguments[1:])


def run_verb(verb: str, arguments: list[str], prog: str | None = None) -> int:
    """Parse a verb's options and run it.

    Args:
        verb: one of `VERBS`.
        arguments: its options.
        prog: how it was called, if not as `dreamenv verb`.
    """
    # Only the chosen verb is imported: `inspect` should not wait for torch.
    from dreamenv.cli.options import parse

    try:
        module = import_module(f"dreamenv.cli.{verb.replace('-', '_')}")
        summary = VERBS[verb][0].upper() + VERBS[verb][1:] + "."
        options = parse(module.Options, prog or f"dreamenv {verb}", arguments, summary)
        return module.run(options)
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _usage() -> str:
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return f"usage: dreamenv <verb> [--help]\n\nverbs:\n{listing}"
