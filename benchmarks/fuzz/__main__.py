"""Damage checkpoints, rollout stores and saved dreams, read them, and count what happens.

    python -m benchmarks.fuzz

A damaged one is *refused* by an error of this package, or reads the *same* as the whole one (the
damage was where it does not matter), or as an *earlier* one: a store whose list of episodes lost
its end, a checkpoint without its calibration of trust. Anything
else is a fault: it reads as *changed*, raises an error of another kind, kills the process, hangs,
or takes more than `MEMORY` bytes. Without checksums, as earlier versions wrote files, a changed
number cannot be told from a right one: there *changed* is no fault, the rest is.

Every case is decided by its number. They run in processes of their own, in portions.
Result: docs/results/fuzz.json. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fuzz.cases import FINE, run_cases
from benchmarks.fuzz.subjects import SUBJECTS
from benchmarks.script import conditions, options, store

COUNTS = {
    "checkpoints": 1000,
    "stores": 500,
    "states": 200,
    "checkpoints_without_checksums": 300,
    "stores_without_checksums": 300,
    "tokenized": 100,
}
PORTION, PATIENCE = 250, 7200


def main() -> int:
    """Run all cases, or a portion of one subject's for a parent process."""
    parser = options(__doc__, "fuzz.json")
    parser.add_argument("--only", choices=list(SUBJECTS), help="one of them")
    parser.add_argument("--count", type=int, help="cases of each")
    parser.add_argument("--portion", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.portion:
        with tempfile.TemporaryDirectory() as folder:
            for case in run_cases(args.only, range(*args.portion), Path(folder), limited=True):
                print(json.dumps(case), flush=True)
        return 0
    result: dict[str, Any] = {"conditions": conditions("fuzz"), "subjects": {}}
    for name in [args.only] if args.only else SUBJECTS:
        cases = all_cases(name, args.count or COUNTS[name])
        fine = FINE if name.endswith("checksums") else FINE - {"changed"}
        outcomes = Counter(case["outcome"] for case in cases)
        faults = [case for case in cases if case["outcome"] not in fine]
        result["subjects"][name] = {
            "cases": len(cases),
            "outcomes": dict(sorted(outcomes.items())),
            "faults": faults,
        }
        print(name, dict(outcomes), *faults, sep="\n")
    store(args.out, result)
    print(f"written: {args.out}")
    return int(any(subject["faults"] for subject in result["subjects"].values()))


def all_cases(name: str, count: int) -> list[dict[str, Any]]:
    """The cases of a subject; one that kills its process is noted, and the next ones go on."""
    cases: list[dict[str, Any]] = []
    while len(cases) < count:
        first, last = len(cases), min(count, len(cases) + PORTION)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--only", name, "--portion"]
        try:
            done = subprocess.run(
                [*command, str(first), str(last)], stdout=subprocess.PIPE, timeout=PATIENCE
            )
            text, outcome = done.stdout, f"died ({done.returncode})"
        except subprocess.TimeoutExpired as error:
            text, outcome = error.stdout or b"", "hung"
        cases += [json.loads(line) for line in text.decode().splitlines()]
        if len(cases) < last:
            cases.append({"case": len(cases), "what": "?", "outcome": outcome})
        print(f"{name}: {len(cases)} of {count}", file=sys.stderr)
    return cases


if __name__ == "__main__":
    sys.exit(main())
