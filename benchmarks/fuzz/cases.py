"""Single cases: a whole one is copied, damaged and read, and what comes of it is named."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.subjects import SUBJECTS
from dreamenv.core.errors import DreamEnvError

FINE = frozenset({"refused", "same", "earlier", "changed"})
MEMORY = 2**31
"""Bytes that reading may take beyond what the process has before."""
SECONDS = 120
"""A case that takes longer hangs; a busy machine needs a second."""


def run_cases(
    name: str, numbers: Iterable[int], folder: Path, limited: bool = False
) -> Iterator[dict[str, Any]]:
    """What becomes of some cases of a subject.

    Args:
        name: of the subject.
        numbers: of the cases.
        folder: to work in.
        limited: bound this process's memory, for good.
    """
    subject = SUBJECTS[name]
    whole = folder / "whole"
    subject.make(whole)
    expected = subject.observe(whole)
    if limited:
        most = _address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for number in numbers:
        rng = np.random.default_rng([number, sorted(SUBJECTS).index(name)])
        damaged = shutil.copytree(whole, folder / f"case{number}")
        what = subject.damage(damaged, rng)
        try:
            with _alarm():
                found = subject.observe(damaged)
                outcome = "same" if found == expected else "changed"
                if found != expected and expected.startswith(found):
                    outcome = "earlier"
        except DreamEnvError:
            outcome = "refused"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome = f"{type(error).__name__}: {str(error)[:200]}"
        shutil.rmtree(damaged)
        yield {"case": number, "what": what, "outcome": outcome}


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    return pages * resource.getpagesize()
