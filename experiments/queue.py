"""Working through jobs, alone or beside other processes on the same folders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.job import Job

Work = Callable[[Job], dict[str, Any]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tally:
    """What became of the jobs."""

    finished: list[Job]
    """Done, now or before."""
    failed: list[Job]
    """Tried since the start, by this process or by another."""
    left: list[Job]
    """Claimed by other processes, or beyond the limits."""


def run_queue(
    jobs: Sequence[Job],
    work: Work,
    most: int | None = None,
    minutes: float | None = None,
    say: Say = print,
) -> Tally:
    """Do every job that is not done and that nobody else does.

    Several processes may work on the same jobs: each is claimed by a lock that ends with its
    process. A job that fails is noted with its error and the others go on; the next call tries
    it again.

    Args:
        jobs: in the order wanted.
        work: trains and measures; returns the scores. It must go on where it was killed.
        most: claim at most so many.
        minutes: claim none after so long.
        say: called with a line of progress.
    """
    began = time.time()
    deadline = began + 60 * (math.inf if minutes is None else minutes)
    tried: set[Job] = set()

    def has_failed(job: Job) -> bool:
        error = job.error()
        return error is not None and (job in tried or error["time"] >= began)

    def attempt(job: Job) -> bool:
        """Whether it was to be had."""
        with job.claimed() as mine:
            # Asked again: another process may have finished it since.
            if not mine or job.scores() is not None or has_failed(job):
                return False
            tried.add(job)
            job.enter()
            done = sum(other.scores() is not None for other in jobs)
            say(f"{job.name}: begins ({done} of {len(jobs)} jobs are done)")
            try:
                job.finish(work(job))
            except Exception as error:
                job.fail(error)
                say(f"{job.name}: failed: {error}")
            return True

    while len(tried) < (math.inf if most is None else most) and time.time() < deadline:
        # From the first again each time: another process may have died and let go of one.
        if not any(job.scores() is None and not has_failed(job) and attempt(job) for job in jobs):
            break
    finished = [job for job in jobs if job.scores() is not None]
    failed = [job for job in jobs if job not in finished and has_failed(job)]
    return Tally(finished, failed, [job for job in jobs if job not in finished + failed])
