"""Fills in the tables of docs/reliability.md from docs/results/*.json; measures nothing.

python -m benchmarks.reliability
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.page.markdown import UNKNOWN
from benchmarks.script import DOCS
from experiments.document import fill_tables

MIB = 2**20


def main() -> None:
    """Fill them in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    fill_tables(DOCS / "reliability.md", tables())


def tables() -> dict[str, str]:
    """Name → Markdown."""
    makers = {"faults": faults, "fuzz": fuzz, "bounded": bounded, "cluster": cluster}
    made = {}
    for name, make in makers.items():
        path = DOCS / "results" / f"{name}.json"
        if path.exists():
            made[name] = make(json.loads(path.read_text("utf-8")))
        else:
            made[name] = f"{UNKNOWN.capitalize()} yet: `python -m benchmarks.{name}`.\n"
    return made


def faults(result: dict[str, Any]) -> str:
    """Rounds that ended in the undisturbed result, of all rounds."""
    subjects = result["subjects"]
    kinds = list(dict.fromkeys(fault for counts in subjects.values() for fault in counts))
    rows = [
        [f"`{name}`", *(_rounds(counts.get(kind)) for kind in kinds)]
        for name, counts in subjects.items()
    ]
    return _table(["same result, of rounds", *kinds], rows)


def _rounds(counts: dict[str, Any] | None) -> str:
    return "–" if counts is None else f"{counts['same']} of {counts['rounds']}"


def cluster(result: dict[str, Any]) -> str:
    """Rounds on a cluster that ended in the result of one machine."""
    rows = [[f"`{name}`", _rounds(counts)] for name, counts in result["subjects"].items()]
    return _table(["two nodes, one killed", "same result, of rounds"], rows)


def fuzz(result: dict[str, Any]) -> str:
    """What became of damaged and forged files."""
    outcomes = ("refused", "same", "earlier", "changed")
    rows = [
        [
            name.replace("_", " "),
            str(about["cases"]),
            *(str(about["outcomes"].get(outcome, 0)) for outcome in outcomes),
            str(len(about["faults"])),
        ]
        for name, about in result["subjects"].items()
    ]
    return _table(["damaged", "cases", *outcomes, "faults"], rows)


def bounded(result: dict[str, Any]) -> str:
    """What a process holds early and late."""
    rows = []
    for name, about in result["parts"].items():
        if name == "processes":
            continue
        (early, late), files, threads = about["bytes"], about["files"], about["threads"]
        seconds = [f"{1000 * value:.1f}" for value in about["seconds"]]
        rows.append(
            [
                name,
                str(about["uses"]),
                f"{early / MIB:.1f} → {late / MIB:.1f} MiB",
                f"{files[0]:.0f} → {files[1]:.0f}",
                f"{threads[0]:.0f} → {threads[1]:.0f}",
                " → ".join(seconds) + " ms",
            ]
        )
    head = ["part", "uses", "memory, early → late", "open files", "threads", "a use"]
    return _table(head, rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
