"""Disturb commands at random moments, let them go on, and compare with undisturbed ones.

    python -m benchmarks.faults --rounds 100

Each subject meets each fault so many times, at moments that are drawn evenly over the time that it
takes. Then the same command runs again, without a fault. What it has made must be the same as
without any, to the last bit; no process may be left, and no temporary file.

`killed` is SIGKILL to the command, `all killed` to its workers too, `interrupted` SIGINT to the
command, `disk full` a limit on the size of a file, `two at once` the command twice in one folder,
`worker killed` SIGKILL to one of its workers, which must not keep it from finishing.
Results are added up in docs/results/faults.json: a later run with another --seed adds its rounds.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# Workers that commands start import this module again, and need nothing of what follows.


def main() -> int:
    """Run the rounds, and store after every one."""
    from benchmarks.faults.rounds import FAULTS
    from benchmarks.faults.subjects import SUBJECTS
    from benchmarks.script import conditions, options, store

    parser = options(__doc__, "faults.json")
    parser.add_argument("--rounds", type=int, default=100, help="of each fault of each subject")
    parser.add_argument("--only", choices=list(SUBJECTS), help="one subject")
    parser.add_argument("--fault", choices=FAULTS, help="one fault")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result: dict[str, Any] = {"conditions": conditions("faults"), "subjects": {}}
    if args.out.exists():
        result["subjects"] = json.loads(args.out.read_text("utf-8"))["subjects"]
    failed = False
    for name in [args.only] if args.only else SUBJECTS:
        with tempfile.TemporaryDirectory() as folder:
            faults = [args.fault] if args.fault else list(FAULTS)
            for fault, wrong in rounds(name, faults, args.rounds, args.seed, Path(folder)):
                counts = (
                    result["subjects"]
                    .setdefault(name, {})
                    .setdefault(fault, {"rounds": 0, "same": 0, "wrong": []})
                )
                counts["rounds"] += 1
                counts["same"] += not wrong
                counts["wrong"] += [wrong] if wrong else []
                failed |= bool(wrong)
                store(args.out, result)
    return int(failed)


def rounds(name: str, faults: list[str], count: int, seed: int, folder: Path) -> Any:
    """Yield each round's fault and what was wrong; all faults come by in turns."""
    from benchmarks.faults.rounds import Command, run_round, undisturbed
    from benchmarks.faults.subjects import SUBJECTS

    subject = SUBJECTS[name]
    for number, arguments in enumerate(subject.prepare(folder / "shared")):
        command = Command(arguments, folder / f"prepare{number}.log")
        if command.wait() != 0:
            raise RuntimeError((folder / f"prepare{number}.log").read_text("utf-8"))
    expected, seconds = undisturbed(subject, folder / "shared", folder / "whole")
    print(f"{name}: {seconds:.1f} seconds undisturbed", file=sys.stderr, flush=True)
    shutil.rmtree(folder / "whole")
    for number in range(count):
        for fault in faults:
            if fault == "worker killed" and not subject.workers:
                continue
            rng = random.Random(f"{seed} {name} {fault} {number}")
            *wrong, last = run_round(
                subject, fault, folder / "shared", folder / "round", seconds, rng
            )
            if last != f"digest {expected}":
                wrong.append("the result is another one" if last.startswith("digest") else last)
            print(f"{name}, {fault}, {number}: {wrong or 'same'}", file=sys.stderr, flush=True)
            yield fault, wrong


if __name__ == "__main__":
    sys.exit(main())
