"""Commands on a Ray cluster of two nodes, of which one is killed in the middle.

    pip install 'dreamenv[ray]'
    python -m benchmarks.cluster

The nodes are processes of this machine. `collect`, `gap` and `compare` run on them with two
workers; when a drawn number of their pieces is finished (episodes; trainings that have begun), one
node is killed with all that runs on it. The command must end as if nothing had been, and what it
has made must be what the same command makes on this machine alone, to the last bit.
Result: docs/results/cluster.json, to which a run with another --seed adds its rounds.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.subjects import SUBJECTS
from benchmarks.ray_cluster import ROOT, STORE, ray_cluster
from benchmarks.script import conditions, options, store

PIECES = {
    "collect": ("episodes.jsonl", 5),
    "gap": ("episodes/*", 3),
    "compare": ("jobs/*/*/run/metrics.jsonl", 2),
}
"""Subject → files that grow with what is finished, and how many pieces may be before the kill."""


def main() -> int:
    """Run the rounds, and store after every one."""
    parser = options(__doc__, "cluster.json")
    parser.add_argument("--only", choices=list(PIECES), help="one command")
    parser.add_argument("--rounds", type=int, default=1, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import ray

    result: dict[str, Any] = {"conditions": conditions("cluster"), "subjects": {}}
    if args.out.exists():
        result["subjects"] = json.loads(args.out.read_text("utf-8"))["subjects"]
    result["conditions"]["ray"] = ray.__version__
    for name in [args.only] if args.only else PIECES:
        with tempfile.TemporaryDirectory() as folder:
            rng = random.Random(f"{args.seed} {name}")
            for wrong in rounds(name, args.rounds, Path(folder), rng):
                fresh = {"rounds": 0, "same": 0, "wrong": []}
                counts = result["subjects"].setdefault(name, fresh)
                counts["rounds"] += 1
                counts["same"] += not wrong
                counts["wrong"] += [wrong] if wrong else []
                store(args.out, result)
    return int(any(counts["wrong"] for counts in result["subjects"].values()))


def rounds(name: str, count: int, folder: Path, rng: random.Random) -> Any:
    """Yield what was wrong in each round, "" if nothing."""
    subject = SUBJECTS[name]
    shared = folder / "shared"
    for arguments in [*subject.prepare(shared), subject.arguments(shared, folder / "alone")]:
        begin(arguments, folder / "log").wait_for()
    expected = subject.digest(folder / "alone")
    with ray_cluster(0) as cluster:
        for number in range(count):
            while len(cluster.worker_nodes) < 2:
                cluster.add_node(num_cpus=1, object_store_memory=STORE)
            out = folder / f"round{number}"
            arguments = [*subject.arguments(shared, out), "--backend", "ray"]
            arguments += ["--address", cluster.address]
            if "--workers" not in arguments:
                arguments += ["--workers", "2"]
            command = begin(arguments, folder / "log")
            pattern, most = PIECES[name]
            pieces = rng.randint(1, most)
            while command.poll() is None and grown(out, pattern) < pieces:
                time.sleep(0.05)
            early = command.poll() is not None
            node = sorted(cluster.worker_nodes, key=lambda node: node.unique_id)[rng.randrange(2)]
            cluster.remove_node(node, allow_graceful=False)
            print(f"{name}: a node was killed after {pieces} pieces", file=sys.stderr, flush=True)
            try:
                command.wait_for()
                same = subject.digest(out) == expected
                wrong = "it ended before the kill" if early else "" if same else "another result"
            except RuntimeError as error:
                wrong = str(error)
            print(f"{name}, {number}: {wrong or 'same'}", file=sys.stderr, flush=True)
            yield wrong


def grown(folder: Path, pattern: str) -> int:
    """Finished pieces: lines of files of lines, other files."""
    found = 0
    for path in folder.glob(pattern):
        lines = path.suffix == ".jsonl" and path.name.startswith("episodes")
        found += path.read_bytes().count(b"\n") - 1 if lines else 1
    return found


class Started(subprocess.Popen):
    """A command under way."""

    log: Path

    def wait_for(self) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: it failed; with the end of what it said.
        """
        if self.wait() != 0:
            said = self.log.read_text("utf-8", errors="replace")[-1500:]
            raise RuntimeError(f"exit code {self.returncode}: {said}")


def begin(arguments: list[str], log: Path) -> Started:
    """Start `dreamenv` with some arguments, from the root of the checkout."""
    with log.open("wb") as file:
        command = [sys.executable, "-m", "dreamenv", *arguments]
        started = Started(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    started.log = log
    return started


if __name__ == "__main__":
    sys.exit(main())
