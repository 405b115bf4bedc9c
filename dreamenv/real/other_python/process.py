"""`EnvironmentProcess`: a Python interpreter of its own that serves one environment over a pipe.

What crosses the pipe, and in which form, is said in `child.py`. Here: a time limit for every
answer, limits of size before anything is kept, no pickle, and an end that leaves nothing behind,
however it comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, BinaryIO

import numpy as np

from dreamenv.core.errors import ConfigError, EnvironmentProcessError
from dreamenv.real.other_python.child import ARRAY, DTYPES, FRAME, MAGIC, MOST_BODY, MOST_HEAD, pack

CHILD = Path(__file__).with_name("child.py")
GRACE = 20.0
"""Seconds that an environment has to close."""
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
"""What would lead another interpreter to the packages of this one."""
MOST_SAID = 2**14
"""Bytes of what the environment printed last that are kept for messages."""


class EnvironmentProcess:
    """An interpreter that serves one environment.

    Args:
        python: path or name of the interpreter, or folder of a virtual environment.
        what: the environment, for messages.
        alone: let it work in a folder of its own, which is removed at the end.
        grace: seconds that the environment has to close.

    Raises:
        ConfigError: there is no such interpreter.
    """

    def __init__(self, python: str, what: str, alone: bool = False, grace: float = GRACE) -> None:
        if not hasattr(selectors, "PollSelector"):
            raise ConfigError(
                f"{what} in another Python needs pipes that can be waited for, which this system "
                "lacks; use Linux, macOS or WSL"
            )
        self.what, self.python = what, interpreter(python)
        self._number, self._said, self._in = 0, bytearray(), bytearray()
        self._usable = True
        folder = mkdtemp(prefix="dreamenv-env-")
        foreign = () if self.python == os.path.abspath(sys.executable) else FOREIGN
        settings = {name: value for name, value in os.environ.items() if name not in foreign}
        try:
            self._process = subprocess.Popen(
                [self.python, str(CHILD), folder, str(grace), os.getcwd()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                cwd=folder if alone else None, env=settings | {"TMPDIR": folder},
                start_new_session=True,  # Ctrl-C comes to us, and we decide
            )  # fmt: skip
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ConfigError(f"{self.python} cannot be run as a Python: {error}") from error
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        self._end = weakref.finalize(
            self, _end, self._process, folder, grace + min(1.0, grace), os.getpid(), self._said
        )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether requests can be made: it lives, and no answer is missing."""
        return self._usable and self._end.alive and self._process.poll() is None

    def ask(self, do: str, timeout: float, **told: Any) -> dict[str, Any]:
        """Make a request and wait for its answer.

        Args:
            do: what is to be done.
            timeout: seconds that it may take.
            told: more of the request.

        Returns:
            The answer, with its arrays; `error` in it is what the environment raised.

        Raises:
            EnvironmentProcessError: the process died, did not answer in time, or not in the form
                that was agreed. It cannot be asked again.
        """
        if not (self._usable and self._end.alive):
            raise self._broken(f"is not there any more to {do}")
        self._number += 1
        if self._process.poll() is not None:
            raise self._death(do)
        request = memoryview(pack({"n": self._number, "do": do, **told}))
        self._usable = False  # whatever comes between, a Ctrl-C too, leaves an answer missing
        answer = self._exchange(do, request, time.monotonic() + timeout, timeout)
        if answer.get("n") != self._number:
            raise self._broken(f"answered another request than to {do}")
        self._usable = True
        return answer

    def end(self) -> None:
        """End the process and everything that it left; safe to call twice."""
        if self.usable:
            with contextlib.suppress(EnvironmentProcessError):
                self.ask("close", GRACE)
        self._usable = False
        self._end()

    def said(self) -> str:
        """What the environment printed last."""
        return self._said.decode("utf-8", "replace")

    def _exchange(
        self, do: str, request: memoryview, deadline: float, timeout: float
    ) -> dict[str, Any]:
        requests, replies, words = (
            self._process.stdin, self._process.stdout, self._process.stderr
        )  # fmt: skip
        assert requests is not None and replies is not None and words is not None
        with selectors.PollSelector() as waiting:
            waiting.register(requests, selectors.EVENT_WRITE)
            waiting.register(replies, selectors.EVENT_READ)
            waiting.register(words, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                ready = waiting.select(left) if left > 0 else []
                if not ready and deadline - time.monotonic() <= 0:
                    self._end()
                    raise self._broken(
                        f"did not answer within {timeout:g} seconds to {do} and was ended; if it "
                        "only needs longer, give it more time"
                    )
                pipes = [key.fileobj for key, _ in ready]
                if words in pipes and not _listen(words, self._said):
                    waiting.unregister(words)
                if requests in pipes:
                    with contextlib.suppress(BlockingIOError, BrokenPipeError):
                        request = request[os.write(requests.fileno(), request[: 2**16]) :]
                    if not request:
                        waiting.unregister(requests)
                if replies in pipes:
                    data = _read(replies, 2**16)
                    if data == b"":
                        raise self._death(do)
                    self._in += data or b""
                    answer = self._parsed(do)
                    if answer is not None:
                        return answer

    def _parsed(self, do: str) -> dict[str, Any] | None:
        """The answer that has arrived, None if it has not yet all."""
        if self._in[: len(MAGIC)] != MAGIC[: len(self._in)]:
            words = bytes(self._in[:40])
            self._end()
            raise self._broken(f"wrote {words!r} instead of an answer to {do}; is it a Python?")
        if len(self._in) < FRAME.size:
            return None
        _, head, body = FRAME.unpack_from(self._in)
        if head > MOST_HEAD or body > MOST_BODY:
            self._end()
            raise self._broken(f"answered with {head} + {body} bytes to {do}, more than is allowed")
        if len(self._in) < FRAME.size + head + body:
            return None
        message, self._in = self._in, bytearray()
        try:
            first = FRAME.size + head
            answer = json.loads(message[FRAME.size : first].decode())
            if len(message) > first + body or not isinstance(answer, dict):
                raise ValueError("more than one answer")
            return _Arrays(memoryview(message)[first:]).restored(answer)
        except (ValueError, TypeError, RecursionError) as error:
            self._end()
            raise self._broken(f"answered in another form to {do}: {error}") from None

    def _death(self, do: str) -> EnvironmentProcessError:
        self._end()
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended by itself with status {code}"
        first = "" if self._number > 1 else "; is it a Python from 3.7 on?"
        return self._broken(f"{how} while it was to {do}{first}")

    def _broken(self, how: str) -> EnvironmentProcessError:
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        last = f"; its last words: {lines[-1][:300]}" if lines else ""
        return EnvironmentProcessError(
            f"the process of {self.what} ({self.python}, pid {self.pid}) {how}{last}"
        )


class _Arrays:
    """Puts the arrays of a body back where they belong in a head."""

    def __init__(self, body: memoryview) -> None:
        self._body = body

    def restored(self, value: Any) -> Any:
        """A value of a head with its arrays, which are copies and may be written to."""
        if isinstance(value, list):
            return [self.restored(part) for part in value]
        if not isinstance(value, dict):
            return value
        if ARRAY not in value:
            return {name: self.restored(part) for name, part in value.items()}
        name, shape = value[ARRAY]
        if name not in DTYPES or not all(type(n) is int and 0 <= n <= MOST_BODY for n in shape):
            raise ValueError(f"an array of {name} {shape}")
        dtype = np.dtype(name)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > len(self._body):
            raise ValueError(f"an array of {size} bytes that are not there")
        data, self._body = self._body[:size], self._body[size:]
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def interpreter(python: str) -> str:
    """The path of an interpreter, of a virtual environment's folder or of a name on the PATH.

    Raises:
        ConfigError: there is none.
    """
    place = os.path.expanduser(python or sys.executable)
    if os.path.isdir(place):
        place = os.path.join(place, "bin", "python")
    found = shutil.which(os.path.abspath(place) if os.sep in place else place)
    if found is None:
        raise ConfigError(
            f"there is no Python at {python!r}; give the path of the interpreter that has the "
            "environment, such as /path/to/venv/bin/python"
        )
    return os.path.abspath(found)


def text_of(error: dict[str, Any]) -> str:
    """The first line that says something of what an environment raised, with its kind."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in str(error.get("text")).splitlines()]
    said = next((line for line in lines if line), "")
    return f"{error.get('kind')}: {said[:400]}" if said else str(error.get("kind"))


def _read(pipe: BinaryIO | Any, most: int) -> bytes | None:
    """What has arrived, b"" at the end, None if nothing has yet."""
    try:
        return os.read(pipe.fileno(), most)
    except BlockingIOError:
        return None


def _listen(words: BinaryIO | Any, said: bytearray) -> bool:
    """Keep the end of what was printed; False if nothing will come any more."""
    data = _read(words, 2**16)
    if data:
        said += data
        del said[:-MOST_SAID]
    return data != b""


def _end(
    process: subprocess.Popen[bytes], folder: str, grace: float, owner: int, said: bytearray
) -> None:
    """Close a process's input, wait while it closes, and kill its group and what is left."""
    with contextlib.suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    if os.getpid() == owner:  # a fork has its own ends of the pipes, and no more
        deadline = time.monotonic() + grace
        _drain(process, said, deadline)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        _kill_group(process)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    for pipe in (process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _drain(process: subprocess.Popen[bytes], said: bytearray, deadline: float) -> None:
    """Read what is printed until the process has ended, or the deadline: nobody shall wait for us.

    Others may hold the pipes open longer than it lives, so its output decides, which only it has.
    """
    assert process.stdout is not None and process.stderr is not None
    reading: dict[Any, Callable[[], bool]] = {
        process.stdout: lambda: _read(process.stdout, 2**16) != b"",
        process.stderr: lambda: _listen(process.stderr, said),
    }
    with selectors.PollSelector() as waiting:
        for pipe in reading:
            waiting.register(pipe, selectors.EVENT_READ)
        while process.stdout in waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                if not reading[key.fileobj]():
                    waiting.unregister(key.fileobj)
        while process.stderr in waiting.get_map() and waiting.select(0):
            if not reading[process.stderr]():
                break


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
