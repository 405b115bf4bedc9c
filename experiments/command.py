"""`dreamenv compare`: train and measure a whole grid of models, and write its tables."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated

from tyro.conf import arg

from dreamenv.cli.options import command_line
from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.interruption import INTERRUPTED
from dreamenv.core.ranges import require_ranges
from experiments.job import Job

FAILED = 1


@dataclass(frozen=True)
class Options:
    """What to compare, how much of it now, and where to write."""

    suite: str
    """memory-maze, or debug."""
    out: Path | None = None
    """Working folder, by default runs/compare/SUITE."""
    rollouts: Path | None = None
    """Folder of the stores, by default OUT/rollouts."""
    only: tuple[str, ...] = ()
    """Cells to do; by default all."""
    seeds: tuple[int, ...] = ()
    """Seeds to do; by default the suite's."""
    jobs_limit: int | None = None
    """Begin at most so many jobs."""
    minutes: float | None = None
    """Begin no job after so many minutes."""
    workers: int = 1
    """Processes that collect rollouts; on a cluster they do jobs too, one each at a time."""
    where: Annotated[Backend, arg(name="")] = LOCAL
    """Where they run."""
    job_cpus: int = 1
    """Cores and threads of each job on a cluster."""
    job_gpus: float = 0.0
    """GPUs of each job on a cluster."""
    list: bool = False
    """Only print every job and its state."""
    report: bool = False
    """Only write tables and plots."""
    results: Path | None = None
    """Folder of results.json, tables and plots, by default docs/results/memory (memory-maze) or
    OUT/results."""
    docs: Path | None = None
    """Page whose tables are filled in, by default docs/memory.md (memory-maze) or none."""
    cost: Path | None = None
    """Cost curves to render too, by default docs/results/memory_cost.json (memory-maze) or none."""


def run(args: Options) -> int:
    """Work through the queue and render: 0 if nothing failed, 1 if some job did, 130 if stopped."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from experiments.crew import ClusterCrew
    from experiments.grid import Grid
    from experiments.preparation import prepare
    from experiments.queue import run_queue
    from experiments.report import write_report
    from experiments.suites import suite_named
    from experiments.work import train_and_measure

    require_ranges(
        args,
        {"workers": 1, "jobs_limit": 0, "minutes": 0.0, "job_cpus": 1, "job_gpus": 0.0},
        optional=("jobs_limit", "minutes"),
    )
    if any(seed < 0 for seed in args.seeds):
        raise ConfigError(f"seeds must not be negative: {args.seeds}")
    suite = suite_named(args.suite)
    out = args.out or Path("runs") / "compare" / suite.name
    results = args.results or (Path(suite.results) if suite.results else out / "results")
    page = args.docs or (Path(suite.page) if suite.page else None)
    cost = args.cost or (Path(suite.cost) if suite.cost else None)
    grid = Grid(suite, out, args.rollouts)
    grid.check()
    jobs = grid.jobs(args.seeds or None, args.only or None)
    if args.list:
        width = max(len(job.name) for job in jobs)
        for job in jobs:
            print(f"{job.name:<{width}}  {job.state()}")
        return 0
    failed: list[Job] = []
    try:
        if not args.report and any(job.scores() is None for job in jobs):
            with _sigterm_as_sigint():
                prepare(grid, args.workers, args.where)
                if args.where.is_local:
                    work = functools.partial(train_and_measure, grid)
                    failed = run_queue(jobs, work, args.jobs_limit, args.minutes).failed
                else:
                    size = min(args.workers, len(jobs))
                    with ClusterCrew(grid, args.where, size, args.job_cpus, args.job_gpus) as crew:
                        failed = run_queue(jobs, crew, args.jobs_limit, args.minutes).failed
        for path in write_report(grid, results, page, cost):
            print(f"written: {path}")
    except KeyboardInterrupt:
        print(f"stopped, and everything is saved; to go on: {command_line()}", file=sys.stderr)
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
