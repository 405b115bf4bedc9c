"""Tells the C allocator to keep the memory that every step of dreaming or training frees."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Stop glibc from handing large freed blocks back to the system, for this process.

    A step allocates tens of megabytes or more and frees as much. By default each large block is
    mapped afresh and its pages are cleared by the kernel one fault at a time, which takes a third
    of a dream's step on a CPU. The process keeps its peak memory instead.

    Returns:
        Whether the allocator took the setting; other C libraries than glibc do not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    most = 2**31 - 1  # mallopt takes an int
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, most), (M_TOP_PAD, 256 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)
