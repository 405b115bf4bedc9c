"""The server of `dreamenv play`: a page, and a WebSocket for every session."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamenv.core.errors import DreamEnvError, MissingDependencyError
from dreamenv.play.book import Book
from dreamenv.play.conversation import Conversation
from dreamenv.play.guard import Guard
from dreamenv.play.limits import Limits
from dreamenv.play.messages import MOST_BYTES
from dreamenv.play.session import Session
from dreamenv.play.stage import Stage

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).with_name("page")


def require_server() -> None:
    """Insist on the packages of the server.

    Raises:
        MissingDependencyError: one is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f'the page needs {error.name}; run: pip install "dreamenv[play]"'
        ) from error


def make_app(stage: Stage, limits: Limits, host: str = "127.0.0.1", token: str = "") -> Any:
    """The application as ASGI servers run it.

    Args:
        stage: what is played.
        limits: of sessions.
        host: where the server will listen.
        token: that a visitor must know; "" for none.
    """
    from fastapi import FastAPI
    from fastapi.responses import FileResponse

    book = Book(lambda: Session(stage), limits)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(book.sweep())
        yield
        sweeper.cancel()
        await book.close()
        stage.close()

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.book = book

    @app.get("/")
    async def page() -> Any:
        return FileResponse(PAGE / "play.html")

    async def session(websocket: Any) -> None:
        await websocket.accept()
        await Conversation(websocket, book).run()

    app.router.add_websocket_route("/session", session)
    add_files(app)
    return Guard(app, host, token)


def add_files(app: FastAPI) -> None:
    """Let an application serve the files of the pages."""
    from fastapi.staticfiles import StaticFiles

    app.mount("/page", StaticFiles(directory=PAGE))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before anything slow is begun.

    Raises:
        DreamEnvError: the port is taken, or the host is none of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise DreamEnvError(
            f"cannot listen at {host}:{port}: {error}; choose another --port (0 takes a free one)"
        ) from error


def address(listening: socket.socket, token: str) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def run(app: Any, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=4 * MOST_BYTES,  # a character of a message has up to four bytes
        ws_max_queue=32,
        ws_per_message_deflate=False,  # pictures are packed already
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])
