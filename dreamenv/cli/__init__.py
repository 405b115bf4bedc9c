"""The `dreamenv` command: one verb per file.

A verb's module has `Options`, a dataclass whose fields are its options, and `run(options)`, which
returns the exit code: 0, 2 for a user's mistake, 130 when interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from keyword import iskeyword

from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError
from dreamenv.core.interruption import INTERRUPTED, second_ends_at_once
from dreamenv.core.quiet import silence_gym_notice

__all__ = ["INTERRUPTED", "VERBS", "main"]

VERBS = {
    "new-world": "look at an environment, and write the commands that lead to its dream",
    "collect": "record rollouts of an environment",
    "import": "read a data set that others recorded into a rollout store",
    "export": "write rollouts in a format that others read",
    "inspect": "describe a rollout store and draw some of its frames",
    "train": "train a world model on rollouts",
    "sharpen": "train a world model's decoder on, until its frames are sharp",
    "train-agent": "train an agent in an environment, dreamt or real",
    "gap": "measure how far to trust what agents do in a dream",
    "life": "measure whether a dream lives, keeps its world and pays",
    "play": "play a dream in the browser, with the real environment beside it",
    "view": "look at rollouts, checkpoints, runs and reports in the browser",
    "trust": "calibrate how far to trust a checkpoint's frames",
    "push": "publish a world model or an agent on the Hugging Face hub",
    "doctor": "say what runs on this machine, and what to install",
    "compare": "train and measure a whole grid of world models (from a checkout)",
}
"""Verb → what it does; `train-agent` lives in `dreamenv train-agent`, and so on."""
DISK = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO")
    if hasattr(errno, name)  # not every system has all
)
"""Of all errors of the operating system, those that are no fault of this program."""

# At import and not in `main`: processes that a command starts import its main module, and with it
# this one, before anything else.
silence_gym_notice()


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's mistake prints one clear line and returns 2."""
    print_anywhere()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:2] == ["rollouts", "inspect"]:  # as version 0.1 spelt it
        arguments = arguments[1:]
    if not arguments or arguments[0] not in VERBS:
        print(_usage())
        return 0 if arguments in ([], ["-h"], ["--help"]) else 2
    return _run(arguments[0], arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # as `python -m dreamenv` has it: --env my_module:Id-v0

    def work() -> int:
        # Only the chosen verb is imported: `inspect` should not wait for torch.
        from dreamenv.cli.options import parse

        module = import_module(module_of(verb))
        summary = VERBS[verb][0].upper() + VERBS[verb][1:] + "."
        return module.run(parse(module.Options, f"dreamenv {verb}", arguments, summary))

    return exit_code(work)


def module_of(verb: str) -> str:
    """The module of a verb; that of one which is a word of Python's own ends with an underscore."""
    return f"dreamenv.cli.{verb.replace('-', '_')}" + "_" * iskeyword(verb)


def exit_code(work: Callable[[], int]) -> int:
    """What `work` returns; a user's mistake prints one clear line and gives 2."""
    try:
        with second_ends_at_once():
            return work()
    except DreamEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(
            f"error: {error}; make room or give permission, then run the same command again",
            file=sys.stderr,
        )
        return 2


def _usage() -> str:
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return f"usage: dreamenv <verb> [--help]\n\nverbs:\n{listing}"
