"""The server of `dreamenv view`: rollouts, checkpoints, runs and reports as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.play.glimpses import Glimpses
from dreamenv.play.guard import Guard
from dreamenv.play.messages import pack
from dreamenv.play.pictures import encode
from dreamenv.play.server import PAGE, add_files
from dreamenv.play.things import GAP, Thing


def make_view_app(
    paths: Sequence[str],
    host: str = "127.0.0.1",
    token: str = "",
    tensorboard: str = "",
    device: str = "auto",
) -> Any:
    """The application as ASGI servers run it. It reads, and writes nothing.

    Args:
        paths: what is shown.
        host: where the server will listen.
        token: that a visitor must know; "" for none.
        tensorboard: address of one that shows the runs; "" for none.
        device: torch device of the dreams that checkpoints are shown by.

    Raises:
        ConfigError: at one of the paths there is nothing to see.
    """
    from fastapi import FastAPI
    from fastapi.responses import FileResponse, JSONResponse, Response

    things = [Thing(path) for path in paths]
    for each in things:
        each.require()
    glimpses = [Glimpses(path, device) for path in paths]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def thing(index: int) -> Thing:
        if not 0 <= index < len(things):
            raise ConfigError(f"there is nothing number {index} here")
        return things[index]

    @app.exception_handler(DreamEnvError)
    async def explain(_: Any, error: Exception) -> Any:
        return JSONResponse({"error": str(error)}, 400)

    @app.get("/")
    def page() -> Any:
        return FileResponse(PAGE / "view.html")

    @app.get("/api")
    def about() -> Any:
        listed = [{"name": each.path, "kinds": each.kinds} for each in things]
        return JSONResponse({"things": listed, "tensorboard": tensorboard})

    @app.get("/api/{index}/rollouts")
    def rollouts(index: int) -> Any:
        return JSONResponse(thing(index).rollouts())

    @app.get("/api/{index}/rollouts/{number}")
    def episode(index: int, number: int) -> Any:
        return JSONResponse(thing(index).episode(number))

    @app.get("/api/{index}/rollouts/{number}/frames")
    def frames(index: int, number: int, start: int = 0, count: int = 64) -> Any:
        picture = encode(thing(index).frames(number, start, count), lossless=True)
        return Response(picture, media_type="image/png")

    @app.get("/api/{index}/checkpoint")
    def checkpoint(index: int) -> Any:
        return JSONResponse(thing(index).checkpoint())

    @app.get("/api/{index}/glimpse")
    def glimpse(index: int, passes: int = 0, seed: int = 0) -> Any:
        thing(index)
        if not 0 <= passes <= 64 or not 0 <= seed < 2**32:
            raise ConfigError("passes are from 1 to 64, a seed is a whole number from 0")
        seen = glimpses[index].look(passes or None, seed)
        header = {"labels": seen.labels, "curves": seen.curves}
        body = pack(header, [encode(seen.strips, lossless=True)])
        return Response(body, media_type="application/octet-stream")

    @app.get("/api/{index}/run")
    def run(index: int, after: int = 0) -> Any:
        return JSONResponse(thing(index).run(after))

    @app.get("/api/{index}/life")
    def life(index: int) -> Any:
        return JSONResponse(thing(index).life_table())

    @app.get("/api/{index}/picture/{name}")
    def picture(index: int, name: str) -> Any:
        return FileResponse(thing(index).picture(name), media_type="image/png")

    @app.get("/api/{index}/gap")
    def gap(index: int) -> Any:
        if "gap" not in thing(index).kinds:
            raise ConfigError("there is no gap report here")
        return FileResponse(thing(index).folder / GAP, media_type="text/html")

    add_files(app)
    return Guard(app, host, token)
