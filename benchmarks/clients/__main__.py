"""Runs other people's libraries on our environments and fills in `docs/clients.md`.

    make clients
    python -m benchmarks.clients --only torchrl minari

The second wants the libraries to be installed. What is not run keeps the result that is stored.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from benchmarks.clients.checks import Check, World, outcome, versions
from benchmarks.clients.page import clients_table
from benchmarks.script import DOCS
from dreamenv.core.files import atomic_write_json
from experiments.document import fill_tables

CLIENTS = {
    "gymnasium_vectors": "Gymnasium, vectors",
    "gymnasium_wrappers": "Gymnasium, wrappers",
    "cleanrl": "CleanRL's loops",
    "stable_baselines3": "Stable-Baselines3",
    "torchrl": "TorchRL",
    "minari": "Minari",
    "tianshou": "Tianshou",
    "skrl": "skrl",
}
"""Module → the name in the table."""
WORLDS = {
    "dream": World("DreamEnv-MemoryMaze-v0", {"horizon": 4}),
    "maze": World("MemoryMaze-7x7-ExtraObs-v0", {"max_episode_steps": 4}, dream=False),
}


def run_client(module: str) -> dict[str, Any]:
    """The results of a client in all worlds, as plain data."""
    name = CLIENTS[module]
    try:
        client = importlib.import_module(f"benchmarks.clients.{module}")
    except ImportError as error:
        return {"client": name, "versions": "", "missing": str(error), "checks": []}
    checks = [run_check(check) for check in client.CHECKS]
    return {"client": name, "versions": versions(client.PACKAGES), "checks": checks}


def run_check(check: Check) -> dict[str, Any]:
    """What came of a check in each world; nothing where it says nothing of that world."""
    found: dict[str, Any] = {"what": check.what, "change": check.change}
    for name, world in WORLDS.items():
        if world.dream or not check.dreams_only:
            found[name] = outcome(check, world)
            print(f"{check.what}: {name}: {found[name]}", flush=True)
    return found


def main() -> None:
    """Run, store, render."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[*CLIENTS], choices=[*CLIENTS], metavar="NAME")
    parser.add_argument("--results", type=Path, default=DOCS / "results" / "clients.json")
    parser.add_argument("--page", type=Path, default=DOCS / "clients.md")
    args = parser.parse_args()
    found = {name: run_client(name) for name in args.only}
    stored = json.loads(args.results.read_text("utf-8")) if args.results.is_file() else {}
    clients = stored.get("clients", {}) | found
    result = {
        "command": "make clients",
        "worlds": {name: [world.env_id, world.kwargs] for name, world in WORLDS.items()},
        "clients": {name: clients[name] for name in CLIENTS if name in clients},
    }
    atomic_write_json(args.results, result)
    fill_tables(args.page, {"clients": clients_table(result)})
    print(f"written: {args.results}, {args.page}")


if __name__ == "__main__":
    main()
