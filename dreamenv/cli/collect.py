"""`python -m dreamenv collect`: record rollouts of an environment into a store."""

from __future__ import annotations

import argparse
import json

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.policies import POLICIES
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import reward_table

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `collect`."""
    parser.add_argument("--env", required=True, help="Gymnasium id, or module:id")
    parser.add_argument("--frames", type=int, required=True, help="steps wanted in the store")
    parser.add_argument(
        "--policy",
        nargs="+",
        default=["sticky"],
        metavar="SPEC[=WEIGHT]",
        help=f"one or more of {', '.join(POLICIES)}, 'name:number' sets a policy's parameter, "
        "'=weight' its share of the episodes",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", required=True, help="folder of the store; continued if it exists")
    parser.add_argument("--seed", type=int, default=0, help="decides every episode")
    parser.add_argument("--max-episode-steps", type=int, help="cut episodes here")
    parser.add_argument("--env-kwargs", default="{}", help="JSON, passed to gymnasium.make")
    parser.add_argument(
        "--record-info", nargs="*", default=[], metavar="KEY", help="numeric infos to record"
    )


def run(args: argparse.Namespace) -> int:
    """Collect, then print what is stored; 130 if interrupted."""
    complete = collect(
        args.env,
        args.frames,
        parse_mixture(args.policy),
        args.workers,
        args.out,
        args.seed,
        _parse_kwargs(args.env_kwargs),
        args.max_episode_steps,
        args.record_info,
    )
    if not complete:
        print("interrupted; run the same command again to continue")
    try:
        store = RolloutStore(args.out)
    except RolloutError:
        if complete:
            raise
        return INTERRUPTED  # stopped before there was a store
    print(f"{store.num_steps} frames in {store.num_episodes} episodes are stored in {args.out}")
    print(reward_table(store))
    return 0 if complete else INTERRUPTED


def parse_mixture(specs: list[str]) -> dict[str, float]:
    """Turn ["goal:0.3=0.6", "sticky=0.4"] into weights by policy; no weight means 1.

    Raises:
        RolloutError: a weight is no number, or a policy is named twice.
    """
    mixture: dict[str, float] = {}
    for item in specs:
        spec, _, weight = item.partition("=")
        if spec in mixture:
            raise RolloutError(f"the policy {spec!r} is given twice; add its weights up")
        try:
            mixture[spec] = float(weight) if weight else 1.0
        except ValueError:
            raise RolloutError(f"{item!r}: {weight!r} is no weight; write '{spec}=0.5'") from None
    return mixture


def _parse_kwargs(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RolloutError(f"--env-kwargs is no JSON ({error}): {text}") from None
    if not isinstance(value, dict):
        raise RolloutError(f"--env-kwargs must be a JSON object, not {text}")
    return value
