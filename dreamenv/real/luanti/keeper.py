"""The process that starts the programs of one game, and ends them when its own parent is gone.

It runs by itself, knows the standard library only, and lives until its standard input is closed,
a byte comes there, or its parent is gone. So nothing is left running, and no folder is left behind,
however the parent ended. It writes one line, Luanti's process id; none if a program did not start.

    python keeper.py FOLDER WIDTH HEIGHT PORT LUANTI XVFB
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

START_SECONDS = 60.0
_END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(folder: str, width: str, height: str, port: str, luanti: str, xvfb: str) -> None:
    """Start both programs, and wait until one of them ends or both are to be ended."""
    parent = os.getppid()
    children: list[subprocess.Popen[bytes]] = []
    try:
        read, write = os.pipe()
        screen = ["-screen", "0", f"{width}x{height}x24", "-fbdir", f"{folder}/screen"]
        options = ["-displayfd", str(write), "-nolisten", "tcp"]
        with open(f"{folder}/xvfb.log", "wb") as log:
            children.append(
                subprocess.Popen(
                    [xvfb, *screen, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write],
                    preexec_fn=lambda: _die_with_parent(signal.SIGTERM),
                )
            )
        os.close(write)
        display = _line(read)
        home = f"{folder}/home"
        environment = {
            **{name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"},
            "HOME": home,
            "MINETEST_USER_PATH": f"{home}/.minetest",
            "LUANTI_USER_PATH": f"{home}/.minetest",
            "DISPLAY": f":{display}",
            "SDL_VIDEODRIVER": "x11",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            # One thread renders so small a picture fastest, and always alike.
            "LP_NUM_THREADS": "1",
        }
        command = [luanti, "--config", f"{folder}/settings.conf", "--world", f"{folder}/world"]
        command += ["--gameid", "dreamenv", "--name", "walker", "--port", port, "--go"]
        with open(f"{folder}/luanti.log", "wb") as log:
            children.append(
                subprocess.Popen(
                    [*command, "--logfile", f"{folder}/debug.log"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=folder,
                    preexec_fn=lambda: _die_with_parent(signal.SIGKILL),
                )
            )
        print(children[1].pid, flush=True)
        while all(child.poll() is None for child in children) and not _is_to_end(parent):
            pass
    finally:
        for child in reversed(children):
            _end(child, ask=child is children[0])
        sys.stdout.close()
        while not _is_to_end(parent):  # the parent may want to read the logs
            pass
        shutil.rmtree(folder, ignore_errors=True)


def _is_to_end(parent: int) -> bool:
    """Whether the parent asked for the end, or is gone; a second passes before it is not so."""
    # Processes that the parent forked keep standard input open, so it alone does not tell.
    return bool(select.select([sys.stdin], [], [], 1.0)[0]) or os.getppid() != parent


def _end(child: subprocess.Popen[bytes], ask: bool) -> None:
    """End a program; Xvfb removes its files if it is asked, a stopped Luanti hears no request."""
    if ask:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_END_SECONDS)
    child.kill()
    child.wait()


def _die_with_parent(number: signal.Signals) -> None:
    """Ask the kernel for a signal to this process when the keeper ends, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _line(read: int) -> str:
    """What Xvfb writes when it can be reached: the number of its display."""
    text = b""
    while not text.endswith(b"\n"):
        if not select.select([read], [], [], START_SECONDS)[0] or not (more := os.read(read, 64)):
            raise SystemExit("Xvfb did not start")
        text += more
    return text.decode().strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
