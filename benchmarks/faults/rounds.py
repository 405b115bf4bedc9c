"""One round: a command is begun, disturbed, run again, and compared with an undisturbed one.

Commands run in forks of this process, which has imported what they need: a round costs what the
command does. Each is in a session of its own, by which every process that it leaves is found.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.subjects import Subject
from dreamenv.cli import INTERRUPTED, main
from dreamenv.core.files import UNFINISHED

FAULTS = ("killed", "all killed", "interrupted", "disk full", "two at once", "worker killed")
LEFT = (UNFINISHED, ".partial", "/.lock")
"""Endings of paths that no command may leave; a store's `writer.lock` belongs to it."""
PATIENCE = 1800.0
"""Seconds after which a command hangs; far more than it takes on the busiest machine."""
GRACE = 30.0
"""Seconds that workers have to notice that their command is gone."""


class Command:
    """A command under way, in a fork of this process.

    Args:
        arguments: of `dreamenv`.
        log: file of what it prints.
        most_bytes: the largest file that it can write, as if the disk were full then; 0: any.
    """

    def __init__(self, arguments: list[str], log: Path, most_bytes: int = 0) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, log, most_bytes)

    def _run(self, arguments: list[str], log: Path, most_bytes: int) -> None:
        code = 70
        try:
            os.setsid()
            # What is printed is not what the disk is full for.
            place = os.devnull if most_bytes else log
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for standard in (1, 2):
                os.dup2(file, standard)
            if most_bytes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
            code = main(arguments)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Its exit code, minus the number of the signal that ended it; None if it goes on."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return None

    def others(self) -> list[int]:
        """The processes of its session that are alive, without itself."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text("utf-8").rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            pid = int(path.parent.name)
            if int(fields[3]) == self.pid and fields[0] != "Z" and pid != self.pid:
                found.append(pid)
        return found

    def end(self) -> list[int]:
        """Wait until its session is empty, and kill what stays; returns that."""
        until = time.monotonic() + GRACE
        while (left := self.others()) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in left:
            _kill(pid, signal.SIGKILL)
        return left


def undisturbed(subject: Subject, shared: Path, folder: Path) -> tuple[str, float]:
    """The digest of what the command makes when nothing disturbs it, and its seconds."""
    began = time.monotonic()
    command = Command(subject.arguments(shared, folder), folder.with_suffix(".log"))
    code = command.wait()
    if code != 0 or command.end():
        raise RuntimeError(
            f"exit code {code}: {folder.with_suffix('.log').read_text('utf-8')[-2000:]}"
        )
    return subject.digest(folder), time.monotonic() - began


def run_round(
    subject: Subject, fault: str, shared: Path, folder: Path, seconds: float, rng: random.Random
) -> list[str]:
    """Disturb a command once and let it go on.

    Args:
        subject: the command.
        fault: one of `FAULTS`.
        shared: what the subject prepared.
        folder: for its results; made and removed.
        seconds: that the command takes undisturbed, within which the fault falls.
        rng: decides when, and how.

    Returns:
        What went wrong; nothing, if all is as it should be but for the digest, which the caller
        compares: it is the last entry, after "digest ".
    """
    arguments, log, wrong = subject.arguments(shared, folder), folder.with_suffix(".log"), []
    delay = rng.uniform(0, seconds)
    most = int(10 ** rng.uniform(2.5, 5.5)) if fault == "disk full" else 0
    commands = [Command(arguments, log, most) for _ in range(1 + (fault == "two at once"))]
    first = commands[0]
    if fault in DISTURB:
        code = first.wait(delay)
        if code is None:
            DISTURB[fault](first, rng)
            code = first.wait()
        codes = [code]
    else:
        codes = [command.wait() for command in commands]
    allowed = {
        "killed": {0, -signal.SIGKILL},
        "all killed": {0, -signal.SIGKILL},
        "interrupted": {0, INTERRUPTED, -signal.SIGINT},
        "disk full": {0, 2},
        "two at once": {0, 2},
        "worker killed": {0},
    }[fault]
    wrong += [f"exit code {code}" for code in codes if code not in allowed]
    if fault == "two at once" and 0 not in codes:
        wrong.append(f"neither of two finished: {codes}")
    wrong += [f"left process {pid}" for command in commands for pid in command.end()]
    again = Command([*arguments, *subject.resumed], log)
    code = again.wait()
    if code != 0:
        wrong.append(f"could not go on: exit code {code}")
    wrong += [f"left process {pid}" for pid in again.end()]
    wrong += [f"left {p.name}" for p in folder.rglob("*") if str(p).endswith(LEFT)]
    if wrong:
        wrong.append(log.read_text("utf-8", errors="replace")[-1500:] if log.exists() else "")
    try:
        wrong.append(f"digest {subject.digest(folder)}")
    except Exception as error:
        wrong.append(f"cannot be read: {error!r}")
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    return wrong


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _kill_all(command: Command, _: random.Random) -> None:
    for pid in (command.pid, *command.others()):
        _kill(pid, signal.SIGKILL)


def _kill_worker(command: Command, rng: random.Random) -> None:
    until = time.monotonic() + 5
    while not (others := command.others()) and time.monotonic() < until:
        time.sleep(0.02)
    if others:
        _kill(rng.choice(others), signal.SIGKILL)


DISTURB: dict[str, Callable[[Command, random.Random], None]] = {
    "killed": lambda command, _: _kill(command.pid, signal.SIGKILL),
    "all killed": _kill_all,
    "interrupted": lambda command, _: _kill(command.pid, signal.SIGINT),
    "worker killed": _kill_worker,
}
