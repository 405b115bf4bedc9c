"""How fast the page of `dreamenv play` is, at 1, 8 and 32 sessions, and whether it lasts.

    python -m benchmarks.play_page                     # about three minutes
    python -m benchmarks.play_page --soak-minutes 30   # the long one

Needs Playwright and a Chromium that is installed (`--chromium`). One session is a page in the
browser, which is measured: pictures a second, and the time from a key to the first picture that
was stepped with it, drawn. The others are connections that take their pictures as a page does and
change their action four times a second; the sessions of one server step in one batch. Browser,
server and connections share the machine.

The soak is of `--soak-sessions` such connections. Every half minute the server's memory and how
many pictures each has taken are noted; a session that its server ends is lost.
Result: docs/results/play.json.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.script import conditions, options, store
from dreamenv.core.errors import DreamEnvError, MissingDependencyError
from dreamenv.play.messages import unpack

KEYS = ("ArrowUp", "ArrowLeft", "ArrowRight")
HELD = 0.25
"""Seconds for which an action, or a key, is held."""
NOTE = 30.0
"""Seconds between two notes of the soak."""


class Server:
    """`dreamenv play` on a free port of loopback, in a process of its own."""

    def __init__(self, checkpoint: str, sessions: int) -> None:
        command = [sys.executable, "-m", "dreamenv", "play", "--port", "0", "--no-open"]
        command += ["--sessions", str(sessions), "--checkpoint", checkpoint]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "http://" not in line:
            raise DreamEnvError(f"dreamenv play does not start: {line!r}")
        self.address = line.split("http://")[1].split("/")[0]

    @property
    def resident_mib(self) -> float:
        """Memory that is in use now (Linux)."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text("utf-8").split()[1])
        return pages * resource.getpagesize() / 2**20

    @property
    def cpu_seconds(self) -> float:
        """Processor time used so far (Linux)."""
        text = Path(f"/proc/{self._process.pid}/stat").read_text("utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Visitor(threading.Thread):
    """A connection that plays, and counts its pictures.

    Attributes:
        pictures: taken so far. lost: why the server ended it, or "".
    """

    def __init__(self, address: str, number: int) -> None:
        super().__init__(daemon=True)
        self._address, self._number = address, number
        self._leaving = threading.Event()
        self.pictures, self.lost = 0, ""

    def run(self) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        try:
            with connect(f"ws://{self._address}/session", max_size=2**26) as socket:
                socket.send(json.dumps({"type": "hello", "resume": None}))
                changed, count = time.monotonic(), 0
                while not self._leaving.is_set():
                    message = socket.recv(timeout=600)
                    if isinstance(message, bytes):
                        header, _ = unpack(message)
                        self.pictures += 1
                        if header["over"]:
                            socket.send(json.dumps({"type": "begin"}))
                    if time.monotonic() - changed > HELD:
                        changed, count = time.monotonic(), count + 1
                        action = (self._number + count) % 4
                        socket.send(json.dumps({"type": "act", "action": action, "n": count}))
        except (ConnectionClosed, TimeoutError, OSError) as error:
            if not self._leaving.is_set():
                self.lost = str(error) or type(error).__name__

    def stop(self) -> None:
        """Leave."""
        self._leaving.set()
        self.join(10)


def measure_page(chromium: str, checkpoint: str, sessions: int, seconds: float) -> dict[str, Any]:
    """A page in the browser, and sessions − 1 connections beside it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingDependencyError("the page is measured by Playwright; install it") from error
    with Server(checkpoint, sessions) as server, sync_playwright() as play:
        visitors = [Visitor(server.address, i) for i in range(sessions - 1)]
        for visitor in visitors:
            visitor.start()
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=300_000
        )
        page = browser.new_page(bypass_csp=True, viewport={"width": 1280, "height": 860})
        page.set_default_timeout(300_000)
        page.goto(f"http://{server.address}/")
        page.wait_for_function("window.dreamenv?.header?.step > 3")
        while not all(visitor.pictures or visitor.lost for visitor in visitors):
            page.wait_for_timeout(200)
        page.evaluate("dreamenv.delays.length = dreamenv.drawn.length = 0")
        before = [visitor.pictures for visitor in visitors]
        began, cpu = time.monotonic(), server.cpu_seconds
        for i in range(max(4, int(seconds / (2 * HELD)))):
            key = KEYS[i % len(KEYS)]
            page.keyboard.down(key)
            page.wait_for_timeout(1000 * HELD)
            page.keyboard.up(key)
            page.wait_for_timeout(1000 * HELD)
            if page.evaluate("dreamenv.header.over"):
                page.keyboard.press("n")
        lasted, cpu = time.monotonic() - began, server.cpu_seconds - cpu
        drawn, delays = page.evaluate("[dreamenv.drawn.length, dreamenv.delays]")
        taken = [v.pictures - b for v, b in zip(visitors, before, strict=True)]
        result = {
            "sessions": sessions,
            "seconds": round(lasted, 1),
            "page_fps": round(drawn / lasted, 2),
            "key_to_picture_ms": _quantiles(delays),
            "keys": len(delays),
            # What others take of the machine changes the other figures, not this one.
            "server_cpu_ms_per_picture": round(1000 * cpu / max(1, drawn + sum(taken)), 2),
            "others_fps": round(statistics.mean(taken) / lasted, 2) if taken else None,
            "lost": [visitor.lost for visitor in visitors if visitor.lost],
            "server_mib": round(server.resident_mib, 1),
        }
        browser.close()
        for visitor in visitors:
            visitor.stop()
    return result


def soak(checkpoint: str, sessions: int, minutes: float) -> dict[str, Any]:
    """Connections that play on and on."""
    with Server(checkpoint, sessions) as server:
        visitors = [Visitor(server.address, i) for i in range(sessions)]
        for visitor in visitors:
            visitor.start()
        while not all(visitor.pictures or visitor.lost for visitor in visitors):
            time.sleep(0.2)
        began, notes = time.monotonic(), []
        while (past := time.monotonic() - began) < 60 * minutes:
            time.sleep(min(NOTE, 60 * minutes - past))
            note = {
                "minutes": round((time.monotonic() - began) / 60, 2),
                "server_mib": round(server.resident_mib, 1),
                "pictures": [visitor.pictures for visitor in visitors],
                "lost": [visitor.lost for visitor in visitors if visitor.lost],
            }
            notes.append(note)
            print(note, flush=True)
        lasted = time.monotonic() - began
        for visitor in visitors:
            visitor.stop()
    return {
        "sessions": sessions,
        "minutes": round(lasted / 60, 2),
        "fps": round(sum(v.pictures for v in visitors) / len(visitors) / lasted, 2),
        "lost": [visitor.lost for visitor in visitors if visitor.lost],
        "notes": notes,
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in (("median", 0.5), ("p95", 0.95))
        if ordered
    }


def main() -> None:
    """Measure and store."""
    parser = options(__doc__, "play.json")
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--soak-sessions", type=int, default=8)
    parser.add_argument("--soak-minutes", type=float, default=1.5, help="0 for none")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint
    result: dict[str, Any] = {**conditions("play_page"), "page": []}
    for sessions in arguments.sessions:
        measured = measure_page(arguments.chromium, checkpoint, sessions, arguments.seconds)
        print(measured, flush=True)
        result["page"].append(measured)
    if arguments.soak_minutes:
        result["soak"] = soak(checkpoint, arguments.soak_sessions, arguments.soak_minutes)
    store(arguments.out, result)


if __name__ == "__main__":
    main()
