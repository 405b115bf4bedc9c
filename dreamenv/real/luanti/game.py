"""`Game`: Luanti running without a screen, in lock-step with whoever calls it.

Two programs run: Luanti, client and server in one process, and Xvfb, which it draws on. The
server waits in a pipe for each action, the client stamps each picture with the step's number
(see lua/), and in between the process is stopped: it costs nothing while an agent thinks.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dreamenv.core.errors import EnvironmentProcessError, MissingDependencyError
from dreamenv.real.luanti import keeper
from dreamenv.real.luanti.files import STRIP, write_game
from dreamenv.real.luanti.screen import Screen

START_SECONDS = 120.0
ANSWER_SECONDS = 60.0
_POLL_SECONDS = 0.0005
_LEVELS = (0, 85, 170, 255)
_CLEAR = 100
"""Brightness that a curtain's own colour exceeds, and that the others stay below."""


@dataclass(frozen=True)
class Told:
    """Where the walker is after a step, and what the step paid."""

    x: float
    z: float
    """In nodes, the middle of the first column being 0."""
    heading: int
    """Turns of 20 degrees to the left from looking along z."""
    reward: float
    target: int
    """0 or 1: the marked block that pays next."""


@dataclass(frozen=True)
class World:
    """What does not change in an episode."""

    marks: np.ndarray
    """(2, 2) int64: column (x, z) of each marked block."""
    walkable: np.ndarray
    """(32, 32) uint8, 1 where nothing stands, indexed [z, x]."""


def programs() -> tuple[str, str]:
    """Paths of Luanti and Xvfb.

    Raises:
        MissingDependencyError: one of them is not installed.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/games"))
    luanti = shutil.which("luanti", path=path) or shutil.which("minetest", path=path)
    xvfb = shutil.which("Xvfb", path=path)
    missing = [name for name, at in (("luanti", luanti), ("Xvfb", xvfb)) if at is None]
    if luanti is None or xvfb is None or not hasattr(signal, "pidfd_send_signal"):
        raise MissingDependencyError(
            "Luanti needs the programs luanti (formerly minetest) and Xvfb, on Linux; not found: "
            f"{' and '.join(missing) or 'Linux'}. On Debian and Ubuntu install them with "
            "`apt-get install minetest xvfb`"
        )
    return luanti, xvfb


class Game:
    """One running Luanti; `reset` before the first `act`.

    Args:
        size: pixels along a side of the view.

    Raises:
        MissingDependencyError: Luanti or Xvfb is not installed.
        EnvironmentProcessError: it does not start; what it logged is told.
    """

    def __init__(self, size: int) -> None:
        luanti, xvfb = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="dreamenv-luanti-"))
        write_game(self._folder, size)
        for pipe in ("actions", "answers"):
            os.mkfifo(self._folder / pipe)
        # Opened for both, so that it need not wait for the game to open its end.
        self._actions = os.open(self._folder / "actions", os.O_RDWR)
        self._answers = os.open(self._folder / "answers", os.O_RDONLY | os.O_NONBLOCK)
        self._received = b""
        self._process: int | None = None
        command = [sys.executable, "-I", keeper.__file__, str(self._folder), str(size)]
        self._keeper = subprocess.Popen(
            [*command, str(size + 2 * STRIP), str(_free_port()), luanti, xvfb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which then closes the game
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def reset(self, seed: int) -> tuple[np.ndarray, World, Told]:
        """Draw the world of `seed`, 0 ≤ seed < 2**31, and begin: first view (size, size, 3)."""
        self._send(f"reset {seed}")
        number, curtain, *marks, plan = self._answer().split()
        self._picture(int(number), red=curtain == "0")
        self._send("begin")
        view, told = self._told()
        walkable = np.frombuffer(plan.encode(), np.uint8) - ord("0")
        side = int(len(plan) ** 0.5)
        world = World(np.array(marks, np.int64).reshape(2, 2), walkable.reshape(side, side))
        self._pause()
        return view, world, told

    def act(self, action: int) -> tuple[np.ndarray, Told]:
        """Take one action: 0 forward, 1 left, 2 right."""
        self._send(f"act {action}")
        view, told = self._told()
        self._pause()
        return view, told

    def close(self) -> None:
        """End the programs and remove their folder; safe to call twice."""
        if self._keeper.stdin is None or self._keeper.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write(b".")
            self._keeper.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait()
        shutil.rmtree(self._folder, ignore_errors=True)  # where the keeper itself was killed
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()
        os.close(self._actions)
        os.close(self._answers)
        if self._process is not None:
            os.close(self._process)

    def _wait_until_ready(self) -> None:
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise self._failed("did not start")
        self._process = os.pidfd_open(int(line))
        if self._answer(START_SECONDS) != "ready":
            raise self._failed("did not start")
        self._screen = Screen(self._folder / "screen" / "Xvfb_screen0")

    def _send(self, line: str) -> None:
        os.write(self._actions, line.encode() + b"\n")
        self._signal(signal.SIGCONT)

    def _pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):  # the missing answer tells more
            signal.pidfd_send_signal(self._process, number)

    def _told(self) -> tuple[np.ndarray, Told]:
        number, x, z, heading, reward, target = self._answer().split()
        view = self._picture(int(number))
        return view, Told(float(x), float(z), int(heading), float(reward), int(target))

    def _answer(self, seconds: float = ANSWER_SECONDS) -> str:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            wait = min(1.0, deadline - time.monotonic())
            if wait <= 0:
                raise self._failed(f"did not answer for {seconds:.0f} seconds")
            if select.select([self._answers], [], [], wait)[0]:
                if not (more := os.read(self._answers, 1 << 16)):
                    raise self._failed("ended")
                self._received += more
            elif self._has_ended():
                raise self._failed("ended")
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def _picture(self, number: int, red: bool | None = None) -> np.ndarray:
        """The view that carries a number, and shows the curtain in red or blue if that is asked."""
        colour = np.array([_LEVELS[number // 4**digit % 4] for digit in range(3)], np.uint8)
        screen, deadline = self._screen.view(), time.monotonic() + ANSWER_SECONDS
        middle = screen.shape[1] // 2
        while True:
            picture = screen.copy()
            view = picture[STRIP:-STRIP]
            stamped = (picture[[1, -2], middle] == colour).all()
            if stamped and (red is None or _is_curtain(view, red)):
                # It was being drawn while its upper part was copied, perhaps; now it is whole.
                return screen[STRIP:-STRIP].copy()
            if time.monotonic() > deadline:
                raise self._failed(f"showed no picture of step {number}")
            if self._has_ended():
                raise self._failed("ended")
            time.sleep(_POLL_SECONDS)

    def _has_ended(self) -> bool:
        # A process's descriptor is readable when it has ended.
        return self._process is not None and bool(select.select([self._process], [], [], 0)[0])

    def _failed(self, what: str) -> EnvironmentProcessError:
        logs = [self._folder / name for name in ("debug.log", "luanti.log", "xvfb.log")]
        lines = [
            line
            for log in logs
            if log.exists()
            for line in log.read_text("utf-8", "replace").splitlines()
            if line.strip()
        ]
        telling = [line for line in lines if "ERROR" in line or "rror:" in line] or lines
        last = " | ".join(line.strip() for line in telling[-5:]) or "nothing"
        return EnvironmentProcessError(f"Luanti {what}. It logged: {last}")


def _is_curtain(view: np.ndarray, red: bool) -> bool:
    """Whether all of a view is red, or blue, and nothing else such as the sky."""
    own, other = (0, 2) if red else (2, 0)
    rest = view[..., [1, other]]
    return bool((view[..., own] > _CLEAR).all() and (rest < _CLEAR).all())


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
