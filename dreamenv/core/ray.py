"""Workers on the machines of a Ray cluster.

On its machine each is what it is here, a process of its own (`core.worker_process`), beside a Ray
actor that passes on what it says. So an environment that kills its process, or hangs, is told in
the same words everywhere, and only what happens to a machine is Ray's to tell.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, Self

import dreamenv
from dreamenv.core.errors import ConfigError, DreamEnvError, MissingDependencyError
from dreamenv.core.worker_process import POLL_SECONDS, Make, Processes, ProcessWorker
from dreamenv.core.worker_progress import NOTHING, Noted

# Seconds within which the head of a cluster answers, and a machine that is there has a free core.
ANSWER_SECONDS, ROOM_SECONDS = 10.0, 600.0
# What decides results or how they are computed, and is set where the command runs.
VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "SDL_VIDEODRIVER", "ATEN_CPU_CAPABILITY")


class Host:
    """An actor that owns a worker process on its machine.

    Args:
        make: a pickled `Make`.
        patience: as `Processes`.
        threads: as `Processes`.
        place: of the command: its present folder, `sys.path` and variables, taken over as far as
            they exist here.
    """

    def __init__(
        self,
        make: bytes,
        patience: float,
        threads: int,
        place: tuple[str, list[str], dict[str, str]],
    ) -> None:
        folder, path, variables = place
        with contextlib.suppress(OSError):
            os.chdir(folder)
        sys.path += [entry for entry in path if entry not in sys.path and os.path.exists(entry)]
        os.environ.update(variables)
        # The worker shall not import Ray's program as its main module.
        sys.modules["__main__"].__dict__.pop("__file__", None)
        self._processes = Processes(pickle.loads(make), patience, threads).__enter__()
        self._worker: ProcessWorker = self._processes.new()

    def about(self) -> tuple[str, str]:
        """The name of this machine, and the version of this package on it."""
        return platform.node(), dreamenv.__version__

    def begin(self, number: int, task: bytes) -> None:
        """Pass on a pickled task."""
        self._worker.begin(number, pickle.loads(task))

    def poll(self, seconds: float) -> tuple[bytes | None, Any]:
        """What the worker says within some seconds, None if nothing, and what it has noted."""
        heard = wait([self._worker.pipe], timeout=seconds)
        return self._worker.receive() if heard else None, self._worker.progress.values()

    def where(self) -> str:
        """As `ProcessWorker.where`."""
        return self._worker.where()

    def end(self, patience: float) -> None:
        """As `ProcessWorker.end`."""
        self._worker.end(patience)
        self._processes.__exit__()


class RayWorker:
    """A worker on some machine of the cluster; as `ProcessWorker`, which explains its members."""

    def __init__(self, host: Any) -> None:
        self.task: tuple[int, Any] | None = None
        self.ready = False
        self.progress = NOTHING
        self.silent, self._count, self._looked = 0.0, -1.0, time.monotonic()
        self.host = host
        self.placed = False
        """Whether a machine had room for it."""
        self.asked: Any = host.about.remote()
        """What is to come from it; None if nothing is."""
        self._ending: Any = None

    def begin(self, number: int, task: Any) -> None:
        """Send it a task."""
        self.task = number, task
        self.silent = 0.0
        self.host.begin.remote(number, pickle.dumps(task))
        self.ask()

    def ask(self) -> None:
        """Ask what it has to say."""
        self.asked = self.host.poll.remote(POLL_SECONDS)

    def look(self) -> None:
        """Note whether there was progress since the last look."""
        now, count = time.monotonic(), self.progress.count
        idle = self.ready and self.task is None
        if idle or not self.placed or count != self._count:
            self.silent = 0.0
        else:
            self.silent += min(now - self._looked, 2 * POLL_SECONDS)
        self._count, self._looked = count, now

    def where(self) -> str:
        """The stack of its process; "" if it does not answer."""
        ray = import_ray()
        with contextlib.suppress(ray.exceptions.RayError):
            return ray.get(self.host.where.remote(), timeout=ANSWER_SECONDS)
        return ""

    def close(self, patience: float) -> None:
        """Have its process come to its end within some seconds."""
        if self.placed and patience > 0:
            self._ending = self.host.end.remote(patience)

    def end(self, patience: float) -> None:
        """Wait for that so long, and take its place in the cluster from it."""
        ray = import_ray()
        if self._ending is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._ending, timeout=patience + POLL_SECONDS)
        with contextlib.suppress(Exception):
            ray.kill(self.host)


class RayStaff:
    """Workers on a cluster; a context manager, during which this process is connected to it.

    Args:
        make: makes the servant of each.
        address: HOST:PORT of the cluster; "" for that of RAY_ADDRESS, or one on this machine.
        patience: as `Processes`.
        cpus: cores that each takes, and threads of its numerical libraries.
        gpus: that each takes.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, make: Make, address: str, patience: float, cpus: int, gpus: float) -> None:
        self._ray = import_ray()
        self._make, self._address = pickle.dumps(make), address
        self._patience, self._cpus, self._gpus = patience, cpus, gpus
        self._mine = False
        self._workers: list[RayWorker] = []
        self._room = time.monotonic()

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            connect(self._address)
            self._mine = True
        self._hosts = self._ray.remote(Host).options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        self._room = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        if self._mine:
            self._ray.shutdown()

    def new(self) -> RayWorker:
        """Ask the cluster for one more."""
        known = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        known |= {name: v for name, v in os.environ.items() if name.startswith("DREAMENV_")}
        place = (os.getcwd(), sys.path, known)
        return RayWorker(self._hosts.remote(self._make, self._patience, self._cpus, place))

    def wait(
        self, workers: Sequence[RayWorker], seconds: float
    ) -> Iterator[tuple[RayWorker, bytes]]:
        """Who has said something, and what, within some seconds; ("gone", how) of lost machines.

        Raises:
            DreamEnvError: no machine has room for any worker, or one cannot work.
        """
        ray = self._ray
        asked = {worker.asked: worker for worker in workers if worker.asked is not None}
        if not asked:
            time.sleep(seconds)
        self._require_room(workers)
        answered = ray.wait(list(asked), num_returns=1, timeout=seconds)[0] if asked else []
        for answer in answered:
            worker = asked[answer]
            try:
                told = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                raise _cannot_work(str(error)) from None
            except ray.exceptions.RayError as error:
                text = str(error)
                if "creation task" in text or "failed to import" in text:
                    raise _cannot_work(text) from None
                worker.asked = None
                yield worker, pickle.dumps(("gone", f"is gone with its machine ({_line(text)})"))
                continue
            message = None
            if worker.placed:
                message, noted = told
                worker.progress = Noted(noted)
            else:
                _require_same_version(*told)
                worker.placed = True
            if message is None:
                worker.ask()
            else:  # it waits for a task now
                worker.asked = None
                yield worker, message

    def _require_room(self, workers: Sequence[RayWorker]) -> None:
        now = time.monotonic()
        if any(worker.placed for worker in workers):
            self._room = now
        elif now - self._room > ROOM_SECONDS:
            raise DreamEnvError(
                f"no machine of the Ray cluster had room for a worker of {self._cpus} cores and "
                f"{self._gpus:g} GPUs for {ROOM_SECONDS:g} seconds (`ray status` shows what there "
                "is); run the same command again to continue"
            )


def import_ray() -> Any:
    """Ray itself.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            "--backend ray needs Ray: pip install 'dreamenv[ray]', here and on every machine of "
            "the cluster"
        ) from error
    return ray


def connect(address: str) -> None:
    """Connect this process to a cluster.

    Raises:
        ConfigError: there is none, or it runs another version of Ray or of Python.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address and address != "auto":
        _require_answer(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address or "auto",
            namespace="dreamenv",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        text = str(error)
        if "ersion mismatch" in text:
            raise ConfigError(
                f"the Ray cluster runs another version: {_line(text)}; install the same Ray and "
                "the same Python here and on every machine"
            ) from error
        where = f"at {address}" if address else "on this machine"
        raise ConfigError(
            f"no Ray cluster answers {where} ({_line(text)}); start one with `ray start --head` "
            "and give its HOST:PORT as --address"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray takes them over
                signal.signal(number, handler)


def _require_answer(address: str) -> None:
    """Try the address before Ray does, which keeps trying for a minute and more."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal():
        raise ConfigError(
            f"the address of a Ray cluster is HOST:PORT, as `ray start --head` says, not {address}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head` "
            "there, or give another --address"
        ) from error


def _require_same_version(machine: str, version: str) -> None:
    if version != dreamenv.__version__:
        raise ConfigError(
            f"{machine} has dreamenv {version} and this machine {dreamenv.__version__}; install "
            "the same version on every machine of the cluster"
        )


def _cannot_work(text: str) -> DreamEnvError:
    """The error for a machine of the cluster on which a worker cannot even begin."""
    missing = text.partition("No module named '")[2].partition("'")[0]
    if missing:
        return MissingDependencyError(
            f"a machine of the Ray cluster lacks the module {missing!r}; install dreamenv, and "
            "what else the environment needs, on every machine of the cluster"
        )
    return DreamEnvError(f"a worker on the Ray cluster cannot begin: {_line(text)}")


def _line(text: str) -> str:
    """The most telling line of one of Ray's many-lined messages."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line and not line.startswith("ray")]
    return (errors[-1] if errors else " ".join(lines))[:300] if lines else "no reason given"
