"""Progress on stderr: bars of loops, and a line for what cannot be counted.

Both are silent where stderr is no terminal, so that logs and pipes hold what matters.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds of waiting after which a line says what is waited for."""


def progress_bar(
    iterable: Iterable[T] | None = None,
    title: str | None = None,
    unit: str = "it",
    *,
    total: int | None = None,
    initial: int = 0,
    show: bool = True,
    unit_scale: bool = False,
) -> tqdm[T]:
    """A bar of `tqdm` on stderr; none where that is no terminal.

    Args:
        iterable: what is gone through; without it `update` moves the bar.
        title: in front of the bar.
        unit: of what is counted.
        total: how many there are, where `iterable` does not say.
        initial: how many were done before.
        show: False for no bar.
        unit_scale: write large counts as 12.3k.
    """
    return tqdm(
        iterable, title, total, unit=unit, initial=initial, unit_scale=unit_scale, smoothing=0.1,
        disable=None if show else True,
    )  # fmt: skip


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal what is waited for and for how long, if it takes more than two seconds.

    The line is gone when the block ends.

    Args:
        what: such as "compiling kernels".
    """
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    done, began, shown = threading.Event(), time.monotonic(), False

    def tell() -> None:
        nonlocal shown
        pause = PATIENCE
        while not done.wait(pause):
            seconds, pause = time.monotonic() - began, 1.0
            shown = True
            sys.stderr.write(f"\r\x1b[K{what} … {seconds:.0f} s")
            sys.stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
