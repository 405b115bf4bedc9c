"""Tells the C allocator to keep the memory that every step of training frees.

For commands that own their process; a dream is a guest in other programs and leaves it alone.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import lru_cache

# Parameters of mallopt(3) and madvise(2).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MADV_HUGEPAGE = 14

RESERVE = 4 * 2**30
"""Bytes of address space that huge pages are asked for; memory is only taken as it is used."""


@lru_cache(maxsize=2)
def keep_freed_memory(huge_pages: bool = True) -> bool:
    """Stop glibc from handing large freed blocks back to the system, for this process.

    A step allocates tens of megabytes or more and frees as much. By default each large block is
    mapped afresh and its pages are cleared by the kernel one fault at a time, which takes a third
    of a step on a CPU. The process keeps its peak memory instead, in huge pages where the
    system has them for the asking: arithmetic on large tensors then misses fewer translations of
    addresses, and training takes three quarters of the time.

    Args:
        huge_pages: False where a limit on the process's data is to hold: address space that is
            reserved for huge pages beforehand would be used beyond it.

    Returns:
        Whether the allocator took the setting; other C libraries than glibc do not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError):
        return False
    most = 2**31 - 1  # mallopt takes an int
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, most), (M_TOP_PAD, 256 * 2**20))
    kept = all(mallopt(name, value) == 1 for name, value in settings)
    if kept and huge_pages:
        _ask_for_huge_pages(libc)
    return kept


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Extend the heap by `RESERVE` without touching it, and mark that for huge pages."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(RESERVE)
    if block is None:
        return  # a limit on memory; what follows is only slower
    page = mmap.PAGESIZE
    first = -(-block // page) * page
    libc.madvise(first, (block + RESERVE - first) // page * page, MADV_HUGEPAGE)
    libc.malloc(2**20)  # never freed: what lies below the top of the heap is not handed back
    libc.free(block)
