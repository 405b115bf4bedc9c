"""`python -m dreamenv compare`: train and measure a whole grid of models, and write its tables."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from dreamenv.core.errors import DreamEnvError
from experiments.job import Job

FAILED, INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `compare`."""
    parser.add_argument("--suite", required=True, help="memory-maze, or debug")
    parser.add_argument("--out", type=Path, help="working folder, else runs/compare/SUITE")
    parser.add_argument("--rollouts", type=Path, help="folder of the stores, else OUT/rollouts")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="do only these cells")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="else the suite's")
    parser.add_argument("--jobs-limit", type=int, metavar="N", help="begin at most N jobs")
    parser.add_argument("--minutes", type=float, help="begin no job after so many minutes")
    parser.add_argument("--workers", type=int, default=1, help="processes that collect rollouts")
    parser.add_argument("--list", action="store_true", help="only print every job and its state")
    parser.add_argument("--report", action="store_true", help="only write tables and plots")
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of results.json, tables and plots, else docs/results/memory (memory-maze) "
        "or OUT/results",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        help="page whose tables are filled in, else docs/memory.md (memory-maze) or none",
    )
    parser.add_argument(
        "--cost",
        type=Path,
        help="cost curves to render too, else docs/results/memory_cost.json (memory-maze) or none",
    )


def run(args: argparse.Namespace) -> int:
    """Work through the queue and render: 0 if nothing failed, 1 if some job did, 130 if stopped."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from experiments.grid import Grid
    from experiments.preparation import prepare
    from experiments.queue import run_queue
    from experiments.report import write_report
    from experiments.suites import suite_named
    from experiments.work import train_and_measure

    suite = suite_named(args.suite)
    out = args.out or Path("runs") / "compare" / suite.name
    results = args.results or (Path(suite.results) if suite.results else out / "results")
    page = args.docs or (Path(suite.page) if suite.page else None)
    cost = args.cost or (Path(suite.cost) if suite.cost else None)
    grid = Grid(suite, out, args.rollouts)
    grid.check()
    jobs = grid.jobs(args.seeds, args.only)
    if args.list:
        width = max(len(job.name) for job in jobs)
        for job in jobs:
            print(f"{job.name:<{width}}  {job.state()}")
        return 0
    failed: list[Job] = []
    try:
        if not args.report and any(job.scores() is None for job in jobs):
            with _sigterm_as_sigint():
                prepare(grid, args.workers)
                failed = run_queue(
                    jobs, lambda job: train_and_measure(grid, job), args.jobs_limit, args.minutes
                ).failed
        for path in write_report(grid, results, page, cost):
            print(f"written: {path}")
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "dreamenv", *sys.argv[1:]])
        print(f"stopped, and everything is saved; to go on: {command}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        raise DreamEnvError(
            f"compare stopped: {error}. What is saved in {out} is whole: make room or give write "
            "permission, then run the same command again to continue"
        ) from error
    left = sum(job.scores() is None for job in jobs) - len(failed)
    print(f"{len(jobs) - len(failed) - left} of {len(jobs)} jobs are done")
    if left:
        print(f"{left} are left, or done by other processes; run the same command to go on")
    for job in failed:
        reason = (job.error() or {})["error"]
        print(f"failed: {job.name}: {reason} ({job.folder / 'error.json'})", file=sys.stderr)
    return FAILED if failed else 0


@contextlib.contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt too, wherever it comes."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
