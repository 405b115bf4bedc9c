"""`dreamenv play`: play a dream in the browser, with the real environment beside it."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.real.plugin import default_checkpoint


@dataclass(frozen=True)
class Options:
    """What to play, and where the page is."""

    checkpoint: tuple[str, ...] = ()
    """Folders, bundled:NAME, or hf://USER/NAME; the page offers them all and begins with the first.
    By default the bundled dream, unless --env is given."""
    env: str = ""
    """Gymnasium id of the real environment: without a checkpoint it is played by itself, with one
    beside the dream. By default the one that the checkpoint learned."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of that environment."""
    agents: tuple[str, ...] = ()
    """Saved agents that can take over, besides the scripted ones."""
    trust_agent: bool = False
    """Load zips of Stable-Baselines3, although they hold pickled objects, which run any code."""
    horizon: int = 500
    """Steps of an episode; the page can change it."""
    denoising_steps: int | None = None
    """Passes per frame; the page can change them. By default the checkpoint's."""
    fps: float = 15.0
    """Steps per second; the page can change it."""
    out: Path = Path("played")
    """Where rollouts and start states are stored that the page asks for."""
    human: bool = False
    """Play in a window of pygame instead of a page."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs a token."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    token: str = ""
    """What a visitor must know, at least 16 characters; "new" draws one."""
    sessions: int = 32
    """Visitors at a time."""
    real_envs: int = 4
    """Real environments at a time; each is a process."""
    minutes: float = 240.0
    """Length of a session at most."""
    open: bool = True
    """Open the page in a browser, if there is one."""
    device: str = "auto"
    """Torch device of the dreams."""
    dtype: str = "auto"
    """float32, bfloat16, or auto."""


def run(options: Options) -> int:
    """Serve the page, or open the window, until Ctrl-C."""
    # Imported late, so that --help and mistyped options need not wait for torch.
    from dreamenv.play.guard import checked_token
    from dreamenv.play.limits import Limits
    from dreamenv.play.messages import MOST_STEPS
    from dreamenv.play.stage import Stage, StageConfig

    if not 1 <= options.horizon <= MOST_STEPS:
        raise ConfigError(f"horizon is from 1 to {MOST_STEPS}, not {options.horizon}")
    if not 0.5 <= options.fps <= 60:
        raise ConfigError(f"fps is from 0.5 to 60, not {options.fps}")
    if options.sessions < 1 or options.real_envs < 0 or not options.minutes > 0:
        raise ConfigError("sessions, minutes and real_envs are numbers above 0")
    bundled = () if options.env else (default_checkpoint(),)
    config = StageConfig(
        checkpoints=options.checkpoint or bundled,
        env=options.env,
        env_kwargs=options.env_kwargs,
        agents=options.agents,
        trust_agent=options.trust_agent,
        out=options.out,
        horizon=options.horizon,
        passes=options.denoising_steps,
        fps=options.fps,
        device=options.device,
        dtype=options.dtype,
    )
    limits = Limits(sessions=options.sessions, real=options.real_envs, life=60 * options.minutes)
    if options.human:
        from dreamenv.play.window import play_in_window

        return play_in_window(Stage(config, limits))
    from dreamenv.play import server

    server.require_server()
    token = checked_token(options.host, options.token)
    listening = server.listen(options.host, options.port)
    app = server.make_app(Stage(config, limits), limits, options.host, token)
    address = server.address(listening, token)
    print(f"play at {address}  (Ctrl-C ends it)", flush=True)
    if options.open:
        webbrowser.open(address)
    server.run(app, listening)
    return 0
