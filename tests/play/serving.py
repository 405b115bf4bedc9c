"""A server for tests, on a port of loopback, in a thread of this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dreamenv.play import server
from dreamenv.play.limits import Limits
from dreamenv.play.messages import unpack
from dreamenv.play.stage import Stage, StageConfig


@contextmanager
def served(config: StageConfig) -> Iterator[str]:
    """The address of a server, HOST:PORT, while the block lasts."""
    import uvicorn

    limits = Limits()
    listening = server.listen("127.0.0.1", 0)
    app = server.make_app(Stage(config, limits), limits)
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws_max_size=1 << 16))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    try:
        yield server.address(listening, "").removeprefix("http://").rstrip("/")
    finally:
        running.should_exit = True
        thread.join(20)


@contextmanager
def hello(address: str, resume: str | None = None) -> Iterator[Any]:
    """A connection that has said hello."""
    from websockets.sync.client import connect

    with connect(f"ws://{address}/session") as socket:
        socket.send(json.dumps({"type": "hello", "resume": resume}))
        yield socket


def next_frame(socket: Any) -> dict[str, Any]:
    """The header of the next picture."""
    while True:
        message = socket.recv(timeout=120)
        if isinstance(message, bytes):
            return unpack(message)[0]
