"""`dreamenv view`: look at rollouts, checkpoints, runs and reports in the browser."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass

from tyro.conf import Positional


@dataclass(frozen=True)
class Options:
    """What to look at, and where the page is."""

    paths: Positional[tuple[str, ...]]
    """Folders of rollouts, checkpoints, trainings or reports, bundled:NAME, or a life.json."""
    tensorboard: str = ""
    """Address of a TensorBoard that shows the run, which the page then links."""
    device: str = "auto"
    """Torch device of the dreams that a checkpoint is shown by."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs a token."""
    port: int = 8001
    """Port to listen at; 0 takes a free one."""
    token: str = ""
    """What a visitor must know, at least 16 characters; "new" draws one."""
    open: bool = True
    """Open the page in a browser, if there is one."""


def run(options: Options) -> int:
    """Serve the page until Ctrl-C."""
    from dreamenv.core.errors import ConfigError
    from dreamenv.play import server
    from dreamenv.play.guard import checked_token
    from dreamenv.play.view_server import make_view_app

    if not options.paths:
        raise ConfigError("there is nothing to view: give a folder")
    server.require_server()
    token = checked_token(options.host, options.token)
    app = make_view_app(options.paths, options.host, token, options.tensorboard, options.device)
    listening = server.listen(options.host, options.port)
    address = server.address(listening, token)
    print(f"view at {address}  (Ctrl-C ends it)", flush=True)
    if options.open:
        webbrowser.open(address)
    server.run(app, listening)
    return 0
