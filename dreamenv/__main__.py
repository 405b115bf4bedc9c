"""`python -m dreamenv <command>`: collect and inspect rollouts, measure the gap, compare models."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from dreamenv.core.console import print_anywhere
from dreamenv.core.errors import DreamEnvError

COMMANDS = {
    ("collect",): ("dreamenv.cli.collect", "record rollouts of an environment"),
    ("rollouts", "inspect"): ("dreamenv.cli.inspect", "describe a rollout store"),
    ("gap",): ("dreamenv.cli.gap", "measure the sim-to-real gap of an agent"),
    ("trust",): ("dreamenv.cli.trust", "calibrate the trust in a model's dreams"),
    ("compare",): ("experiments.command", "compare world models' memories"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's mistake prints one clear line and returns 2."""
    print_anywhere()
    arguments = sys.argv[1:] if arguments is None else arguments
    for words, (module_name, summary) in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            # Only the chosen command is imported: `inspect` should not wait for torch.
            module = import_module(module_name)
            parser = argparse.ArgumentParser(
                prog="python -m dreamenv " + " ".join(words),
                description=summary[0].upper() + summary[1:] + ".",
                formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            )
            module.add_arguments(parser)
            try:
                return module.run(parser.parse_args(arguments[len(words) :]))
            except DreamEnvError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
    width = max(len(" ".join(words)) for words in COMMANDS)
    listing = "\n".join(
        f"  {' '.join(words):<{width}}  {summary}" for words, (_, summary) in COMMANDS.items()
    )
    print(f"usage: python -m dreamenv <command> [--help]\n\ncommands:\n{listing}")
    return 0 if arguments in ([], ["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main())
