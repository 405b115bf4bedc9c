"""`python -m dreamenv gap`: score an agent in a dream and in the real environment."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from dreamenv.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `gap`."""
    parser.add_argument(
        "--agent",
        required=True,
        nargs="+",
        metavar="SPEC",
        help="saved agents (zip or run folder), random, sticky or sticky:0.8; one column each",
    )
    parser.add_argument("--dream", default="DreamEnv-MemoryMaze-v0", help="id of a dream")
    parser.add_argument("--real", required=True, help="Gymnasium id, or module:id")
    parser.add_argument("--episodes", type=int, default=16, help="episodes on each side")
    parser.add_argument("--horizon", type=int, default=256, help="steps of each episode")
    parser.add_argument("--out", required=True, help="folder for gap.json and gap.png")
    parser.add_argument(
        "--dream-kwargs", default="{}", metavar="JSON", help='such as {"checkpoint": "runs/maze"}'
    )
    parser.add_argument("--real-kwargs", default="{}", metavar="JSON", help="for the real one")
    parser.add_argument("--seed", type=int, default=0, help="of starts, actions, clips and noise")
    parser.add_argument("--clips", type=int, default=64, help="open-loop clips of real episodes")
    parser.add_argument("--workers", type=int, default=1, help="real environments at once")


def run(args: argparse.Namespace) -> int:
    """Measure every agent, print the table and write the JSON and the picture."""
    dream_kwargs = _parse_kwargs("--dream-kwargs", args.dream_kwargs)
    real_kwargs = _parse_kwargs("--real-kwargs", args.real_kwargs)
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.evaluation.gap import measure_gap
    from dreamenv.evaluation.report import gap_table, write_reports

    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder")
    reports = [
        measure_gap(
            agent,
            args.dream,
            args.real,
            args.episodes,
            args.horizon,
            seed=args.seed,
            clips=args.clips,
            dream_kwargs=dream_kwargs,
            real_kwargs=real_kwargs,
            workers=args.workers,
        )
        for agent in args.agent
    ]
    print(gap_table(reports))
    json_path, picture_path = write_reports(
        reports, out, command="python -m dreamenv " + shlex.join(sys.argv[1:])
    )
    print(f"\nwritten: {json_path} and {picture_path}")
    return 0


def _parse_kwargs(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option} is no JSON ({error}): {text}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{option} must be a JSON object, not {text}")
    return value
