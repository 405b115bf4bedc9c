"""Dreaming apart from the program around it: under settings of its own, which end with the call.

Torch keeps much that decides what a function computes outside of its arguments: autocast, modes
of the gradient, the default device, hooks on every function. All of these belong to a thread, so
they are set for a call and put back without anyone noticing. What belongs to the whole process
(the default dtype, the global random generators) is neither used nor set, but for the precision
of float32 products: where the program has lowered it, it is raised while a dream is computed.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from dreamenv.core.process import ForkSafeLock, is_worker, was_forked

P = ParamSpec("P")
T = TypeVar("T")

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""With one of these in the environment, the number of threads is somebody's choice."""

_here = threading.local()


def isolated(function: Callable[P, T]) -> Callable[P, T]:
    """A function that computes the same whatever the calling program has set; see `isolation`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if getattr(_here, "inside", False):
            return function(*args, **kwargs)
        with isolation():
            return function(*args, **kwargs)

    return run


@contextmanager
def isolation() -> Iterator[None]:
    """A `with` block under a dream's own settings, for this thread.

    No autocast, gradients, inference mode, default device or other mode of torch functions;
    NumPy's floating point errors are not reported; on as many threads as `threads_of_a_dream`.
    """
    before, threads = torch.get_num_threads(), threads_of_a_dream()
    with ExitStack() as settings:
        if torch.is_inference_mode_enabled():
            settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.no_grad())
        if torch._C._len_torch_function_stack():  # `set_default_device` is a mode, too
            settings.enter_context(torch._C.DisableTorchFunction())
        for kind in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        settings.enter_context(np.errstate(all="ignore"))
        settings.enter_context(_full_precision)
        if threads != before:
            settings.callback(torch.set_num_threads, before)
            torch.set_num_threads(threads)
        settings.callback(setattr, _here, "inside", False)
        _here.inside = True
        yield


class _FullPrecision:
    """Float32 products in float32 from when the first thread enters until the last has left."""

    PRODUCTS = (("mkldnn", "matmul"), ("mkldnn", "conv"), ("cuda", "matmul"))

    def __init__(self) -> None:
        self._lock, self._inside = ForkSafeLock(), 0
        self._lowered: dict[tuple[str, str], str] = {}

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                now = {of: torch._C._get_fp32_precision_getter(*of) for of in self.PRODUCTS}
                self._lowered = {of: x for of, x in now.items() if x not in ("none", "ieee")}
                for of in self._lowered:
                    torch._C._set_fp32_precision_setter(*of, "ieee")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            for of, precision in self._lowered.items():
                torch._C._set_fp32_precision_setter(*of, "none")  # as `torch.backends` has it
                if torch._C._get_fp32_precision_getter(*of) != precision:
                    torch._C._set_fp32_precision_setter(*of, precision)


_full_precision = _FullPrecision()


def threads_of_a_dream() -> int:
    """The number of threads that a dream runs on in this process.

    As many as torch was given; but one after a fork, where more would wait for each other for
    ever, and one in a worker of `multiprocessing`, whose number nobody has chosen: every worker
    would take all cores.
    """
    threads = torch.get_num_threads()
    if threads > 1 and (was_forked() or (is_worker() and not _were_chosen(threads))):
        return 1
    return threads


def _were_chosen(threads: int) -> bool:
    """Whether the number is another than torch takes by itself, or the environment gives it."""
    return any(map(os.environ.get, THREAD_VARIABLES)) or threads not in _default_threads()


@functools.cache
def _default_threads() -> set[int]:
    """What torch takes by itself: one for each core, or for each hardware thread."""
    if not hasattr(os, "sched_getaffinity"):
        return {os.cpu_count() or 1}
    processors = os.sched_getaffinity(0)
    cores = set()
    for processor in processors:
        siblings = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="ascii"))
        except OSError:
            cores.add(str(processor))
    return {len(processors), len(cores)}
