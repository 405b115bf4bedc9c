"""Ctrl-C ends a command in order, a second one at once, and nothing that it started stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dreamenv.core.interruption import second_ends_at_once

if os.name == "nt":
    pytest.skip("sends POSIX signals", allow_module_level=True)

HANGS = """
import multiprocessing, signal, sys, time
from dreamenv.core.interruption import second_ends_at_once, stop_requested

if __name__ == "__main__":
    # A job in the background may have begun with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    with second_ends_at_once():
        try:
            if sys.argv[1] == "stop":
                with stop_requested() as stop:
                    print(worker.pid, flush=True)
                    stop.wait()
                    print("asked", flush=True)
                    time.sleep(600)  # an update that takes long
            print(worker.pid, flush=True)
            time.sleep(600)
        finally:
            print("asked", flush=True)
            time.sleep(600)  # something that is put in order, and hangs
"""


@pytest.mark.parametrize("how", ["stop", "raise"])
def test_a_second_interrupt_ends_at_once_with_all_workers_and_no_traceback(how: str) -> None:
    command = [sys.executable, "-c", HANGS, how]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "\nended at once\n"
        assert is_gone(worker)


def is_gone(pid: int) -> bool:
    """Whether a process ends within a minute; whoever inherits it may not have reaped it yet."""
    for _ in range(600):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().split(") ")[1].startswith("Z"):
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_whoever_handles_interrupts_already_goes_on_doing_so() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda *_: None):
            signal.signal(signal.SIGINT, handler)
            with second_ends_at_once():
                assert signal.getsignal(signal.SIGINT) is handler
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), second_ends_at_once():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
