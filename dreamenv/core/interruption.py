"""Ctrl-C: long work stops between two steps, a second one ends everything at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""Exit code of a command that was interrupted."""


class EndsAtOnce:
    """A handler of SIGINT: the first raises KeyboardInterrupt, any other ends the process.

    Attributes:
        asked: whether somebody has asked already; `stop_requested` notes it here too.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.asked:
            end_at_once()
        self.asked = True
        raise KeyboardInterrupt


def end_at_once() -> None:
    """End this process and those that it started, without waiting for anything."""
    for child in multiprocessing.active_children():
        child.kill()
    with contextlib.suppress(OSError):
        sys.stderr.write("\nended at once\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def second_ends_at_once() -> Iterator[None]:
    """Let a second Ctrl-C end the process, even while the first is still being dealt with.

    For commands. Where something else handles SIGINT already, or nobody shall, nothing changes.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, EndsAtOnce())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal acts as it did before.

    Outside the main thread, which alone may handle signals, nothing sets the event.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        handler = before[signal.Signals(number)]
        if isinstance(handler, EndsAtOnce):
            handler.asked = True
        signal.signal(number, handler)

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Start processes inside that no Ctrl-C reaches before they call `leave_signals_to_parent`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_parent() -> None:
    """In a worker: Ctrl-C reaches the whole process group, but the parent decides what happens.

    A handler that does nothing, unlike SIG_IGN, is not passed on to the processes that an
    environment may start.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def end_with_parent(patience: float = 0.0) -> None:
    """In a worker of `multiprocessing`: end when the parent is gone, however it went.

    Args:
        patience: seconds that the worker has to end by itself before.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        time.sleep(patience)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
