"""`python -m dreamenv gap`: how far to trust what agents do in a dream; see docs/gap.md."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from dreamenv.core.errors import ConfigError

AGENTS = "saved agents (zip or run folder), random, sticky:0.9, forward:0.6, wall, seek"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `gap`."""
    # Imported late, as in `run`: only this command needs it.
    from dreamenv.evaluation.gap.config import GapConfig

    default = {entry.name: entry.default for entry in fields(GapConfig)}

    def add(flag: str, kind: Any, summary: str) -> None:
        name = flag.lstrip("-").replace("-", "_")
        parser.add_argument(flag, type=kind, default=default[name], help=summary)

    def several(flag: str, what: str, summary: str, **more: Any) -> None:
        more = more or {"default": []}
        parser.add_argument(flag, nargs="+", metavar=what, help=summary, **more)

    def mapping(flag: str, summary: str) -> None:
        parser.add_argument(flag, type=_mapping, default={}, metavar="JSON", help=summary)

    several("--agent", "SPEC", f"reported in full: {AGENTS}", required=True)
    several("--population", "SPEC", "more agents, for the ranking")
    parser.add_argument("--dream", default=default["dream_id"], help="id of a dream")
    parser.add_argument("--real", required=True, help="Gymnasium id, or module:id")
    parser.add_argument("--out", required=True, help="folder for gap.json, gap.html and plays/")
    add("--spawns", int, "places from which every agent plays in both worlds")
    add("--horizon", int, "steps from each")
    add("--rollouts", str, "held-out rollouts to draw from; else the checkpoint's spawns")
    add("--latest-start", _step, "latest step of its episode at which a spawn begins, or any")
    add("--near-rewards", float, "share of spawns drawn shortly before a reward of the rollouts")
    add("--match-tolerance", float, "mean grey levels by which a spawn's real frame may differ")
    add("--clips", int, "clips to foretell, of each agent's episodes and of the rollouts")
    add("--clip-horizon", int, "imagined frames of each")
    parser.add_argument(
        "--no-exploitation",
        dest="exploitation",
        action="store_false",
        help="do not take the dreamt actions in the real environment",
    )
    add("--tolerance", int, "steps by which a confirmed reward may be off")
    several("--transfer", "LABEL=SPEC", "agents to compare in full real episodes")
    several("--transfer-real", "ID", "where; by default --real")
    add("--real-episodes", int, "full episodes of each")
    add("--real-horizon", int, "steps of a full episode; by default the environment's limit")
    mapping("--dream-kwargs", 'for the dream, such as {"checkpoint": "runs/maze"}')
    mapping("--real-kwargs", "for the real environment")
    add("--seed", int, "of spawns, noise, agents and intervals")
    add("--workers", int, "real environments at once")


def run(args: argparse.Namespace) -> int:
    """Measure, write the JSON and the page, print one line."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.evaluation.gap.config import GapConfig
    from dreamenv.evaluation.gap.measure import measure_gap
    from dreamenv.evaluation.gap.report import one_line, write_report
    from dreamenv.evaluation.gap.transfer import Contender

    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder")
    given = vars(args)
    renamed = {"agents": args.agent, "dream_id": args.dream, "real_id": args.real}
    same = {f.name: given[f.name] for f in fields(GapConfig) if f.name in given}
    lists = {name: tuple(given[name]) for name in ("population", "transfer_real")}
    contenders = tuple(Contender.parse(text) for text in args.transfer)
    config = GapConfig(**{**same, **renamed, **lists, "transfer": contenders})
    report = measure_gap(config, out / "plays")
    data, page = write_report(report, out, "python -m dreamenv " + shlex.join(sys.argv[1:]))
    print(f"{one_line(report.result)} → {page} and {data}")
    return 0


def _mapping(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"no JSON ({error}): {text}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, not {text}")
    return value


def _step(text: str) -> int | None:
    return None if text == "any" else int(text)
