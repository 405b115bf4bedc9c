"""The server as a browser meets it, on a port of loopback, without a browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamenv.core.errors import DreamEnvError
from dreamenv.play import server
from dreamenv.play.stage import StageConfig
from tests.play.serving import hello, next_frame, served

pytest.importorskip("uvicorn")
client = pytest.importorskip("websockets.sync.client")
closed = pytest.importorskip("websockets.exceptions")


@pytest.fixture(scope="module")
def address(debug_checkpoint: Path) -> Iterator[str]:
    """Where a server listens that shows dreams of the untrained model."""
    with served(StageConfig((str(debug_checkpoint),), fps=30)) as where:
        yield where


def test_the_page_and_its_files_are_served_and_load_nothing_from_elsewhere(address: str) -> None:
    with urllib.request.urlopen(f"http://{address}/") as answer:
        page = answer.read().decode()
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "<canvas" in page
    for path in server.PAGE.iterdir():
        with urllib.request.urlopen(f"http://{address}/page/{path.name}") as answer:
            text = answer.read().decode()
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
    for wrong in ("page/../server.py", "page/%2e%2e/server.py", "docs", "openapi.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{address}/{wrong}")


def test_a_session_goes_on_after_its_connection_was_lost(address: str) -> None:
    with hello(address) as socket:
        welcome = json.loads(socket.recv(timeout=60))
        while next_frame(socket)["step"] < 3:
            pass
    with hello(address, welcome["session"]) as socket:
        assert json.loads(socket.recv(timeout=60))["session"] == welcome["session"]
        assert next_frame(socket)["step"] >= 3
        socket.send(json.dumps({"type": "pause", "on": True}))
        while not next_frame(socket)["paused"]:
            pass


@pytest.mark.parametrize(
    ("message", "code"),
    [("no json", 4400), (b"\x00\x01", 4400), ("x" * (1 << 17), 1009)],
    ids=["nonsense", "binary", "huge"],
)
def test_a_hostile_message_closes_its_own_connection_with_a_reason(
    address: str, message: str | bytes, code: int
) -> None:
    with hello(address) as honest, hello(address) as hostile:
        next_frame(hostile)
        hostile.send(message)
        with pytest.raises(closed.ConnectionClosed) as end:
            while True:
                hostile.recv(timeout=60)
        assert end.value.rcvd is not None and end.value.rcvd.code == code
        before = next_frame(honest)["step"]
        while next_frame(honest)["step"] < before + 3:
            pass


def test_a_page_of_another_site_gets_no_connection(address: str) -> None:
    with pytest.raises(closed.InvalidStatus, match="403"):
        with client.connect(f"ws://{address}/session", origin="http://evil.example"):
            pass


def test_a_port_that_is_taken_is_said_before_anything_is_loaded() -> None:
    taken = server.listen("127.0.0.1", 0)
    with taken, pytest.raises(DreamEnvError, match="choose another --port"):
        server.listen("127.0.0.1", taken.getsockname()[1])
