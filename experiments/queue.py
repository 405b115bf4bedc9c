"""Working through jobs, alone or beside other processes on the same folders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from experiments.job import Job

Work = Callable[[Job], dict[str, Any]]
Say = Callable[[str], None]


class Crew(Protocol):
    """Whoever does jobs, some at a time."""

    @property
    def idle(self) -> bool:
        """Whether one more could be begun."""

    def start(self, job: Job) -> None:
        """Begin a job."""

    def finished(self) -> list[tuple[Job, dict[str, Any] | Exception]]:
        """The scores of jobs that were finished, or why they failed; waits for them a while."""


class Here:
    """A crew of one: this process."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._job: Job | None = None

    @property
    def idle(self) -> bool:
        """Whether no job has been given to it."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Take a job, to be done when its result is asked for."""
        self._job = job

    def finished(self) -> list[tuple[Job, dict[str, Any] | Exception]]:
        """Do the job."""
        job, self._job = self._job, None
        assert job is not None
        try:
            return [(job, self._work(job))]
        except Exception as error:
            return [(job, error)]


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
    work: Work | Crew,
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
        work: trains and measures; returns the scores. It must go on where it was killed. Or a crew
            that does so with several at a time.
        most: claim at most so many.
        minutes: claim none after so long.
        say: called with a line of progress.
    """
    crew = Here(work) if callable(work) else work
    began = time.time()
    deadline = began + 60 * (math.inf if minutes is None else minutes)
    tried: set[Job] = set()
    claims: dict[Job, ExitStack] = {}

    def has_failed(job: Job) -> bool:
        error = job.error()
        return error is not None and (job in tried or error["time"] >= began)

    def claim(job: Job) -> bool:
        """Whether it was to be had."""
        if job in claims or job.scores() is not None or has_failed(job):
            return False
        with ExitStack() as stack:
            # Asked again: another process may have finished it since.
            if not stack.enter_context(job.claimed()) or job.scores() or has_failed(job):
                return False
            tried.add(job)
            job.enter()
            claims[job] = all_claims.enter_context(stack.pop_all())
        done = sum(other.scores() is not None for other in jobs)
        say(f"{job.name}: begins ({done} of {len(jobs)} jobs are done)")
        return True

    def begin_more() -> None:
        while crew.idle and len(tried) < (math.inf if most is None else most):
            # From the first again each time: another process may have died and let go of one.
            job = next(filter(claim, jobs), None) if time.time() < deadline else None
            if job is None:
                break
            crew.start(job)

    with ExitStack() as all_claims:
        begin_more()
        while claims:
            for job, result in crew.finished():
                if isinstance(result, Exception):
                    job.fail(result)
                    say(f"{job.name}: failed: {result}")
                else:
                    job.finish(result)
                claims.pop(job).close()
            begin_more()
    finished = [job for job in jobs if job.scores() is not None]
    failed = [job for job in jobs if job not in finished and has_failed(job)]
    return Tally(finished, failed, [job for job in jobs if job not in finished + failed])
