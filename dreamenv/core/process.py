"""What kind of process this is: a fork of one in which torch may have run, a worker, or neither.

`import dreamenv` imports this module, which notes where it is and changes nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import TracebackType

_FORKED_WITHOUT_EXEC = 0x40
"""The flag of Linux (`PF_FORKNOEXEC`) for a process that goes on with its parent's memory."""


def _continues_its_parent() -> bool:
    """Whether this process was forked and has not executed another program since; Linux only."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        return bool(int(fields.rpartition(")")[2].split()[6]) & _FORKED_WITHOUT_EXEC)
    except (OSError, ValueError, IndexError):
        return False


_PID = os.getpid()
# Where torch came first, it may be from before the fork; there is no telling.
_TORCH_IS_THE_PARENTS = "torch" in sys.modules and _continues_its_parent()


def was_forked() -> bool:
    """Whether torch may have run before this process was forked from another.

    The threads that it ran on were not copied, and OpenMP waits for them for ever.
    """
    return _TORCH_IS_THE_PARENTS or os.getpid() != _PID


def is_worker() -> bool:
    """Whether `multiprocessing` started this process, so that others like it want cores too."""
    import multiprocessing

    return multiprocessing.parent_process() is not None


class ForkSafeLock:
    """A reentrant lock that is open in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}  # type: ignore[valid-type]

    def _of_this_process(self) -> threading.RLock:  # type: ignore[valid-type]
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.RLock())

    def __enter__(self) -> None:
        self._of_this_process().acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._of_this_process().release()


LOADING = ForkSafeLock()
"""Held while something is made that all environments of a process share."""
