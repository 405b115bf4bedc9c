"""What the benchmarks share: their options, what a result begins with, where it is stored."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import machine

DOCS = Path(__file__).parents[1] / "docs"


def options(doc: str | None, result: str, yardsticks: bool = False) -> argparse.ArgumentParser:
    """A parser to which a script adds its own options.

    Args:
        doc: of the script, which `--help` shows as it stands.
        result: file of `--out`, below docs/results.
        yardsticks: also ask for the sizes of products and copies (`benchmarks/yardsticks.py`).
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    place = DOCS / "results" / result
    parser.add_argument("--out", type=Path, default=place, help=f"default: docs/results/{result}")
    if yardsticks:
        parser.add_argument("--matmul-size", type=int, default=2048)
        parser.add_argument("--copied-mebibytes", type=int, default=256)
    return parser


def command(module: str) -> str:
    """The command line that makes a result again."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *sys.argv[1:]])


def conditions(module: str, device: str = "cpu") -> dict[str, Any]:
    """What every result begins with: the command, the machine, its threads, how busy it was.

    `load_average` is of the last minute before the measurement; a quiet machine has about 0.
    """
    return {
        "command": command(module),
        **machine(device),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
    }


def store(path: Path, result: dict[str, Any]) -> None:
    """Write a result, and say so."""
    atomic_write_json(path, result)
    print(f"written: {path}", flush=True)
