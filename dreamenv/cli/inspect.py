"""`python -m dreamenv rollouts inspect`: describe a rollout store and draw some of its frames."""

from __future__ import annotations

import argparse
from pathlib import Path

from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import contact_sheet, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rollouts inspect`."""
    parser.add_argument("path", help="folder of the store")
    parser.add_argument("--image", metavar="PNG", help="where to write a sheet of frames")


def run(args: argparse.Namespace) -> int:
    """Print the description and write the sheet if asked for."""
    store = RolloutStore(args.path)
    print(describe(store))
    if args.image:
        Path(args.image).parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(store).save(args.image)
        print(f"\nframes of several episodes, one per row: {args.image}")
    return 0
