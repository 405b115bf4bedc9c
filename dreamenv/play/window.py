"""Playing in a window of pygame, for those without a browser; the session is the same."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np

from dreamenv.core.errors import MissingDependencyError
from dreamenv.play.messages import read_message, unpack
from dreamenv.play.pictures import decode, side_by_side
from dreamenv.play.session import Out, Session
from dreamenv.play.stage import Stage

LEAST_HEIGHT = 448
"""Pixels of the pictures; small frames are enlarged by a whole factor up to here."""
LINE = 26
"""Pixels of a line of text."""
PAUSE, NEW, FORK, BESIDE, BACK, FORWARD = "space", "n", "f", "r", ",", "."
HELP = "space: pause   , . : one step   n: new   f: fork   r: real   q: quit"


def play_in_window(stage: Stage) -> int:
    """Play until the window is closed; returns the exit code.

    Raises:
        MissingDependencyError: pygame is not installed.
    """
    try:
        import pygame
    except ImportError as error:
        raise MissingDependencyError(
            'a window needs pygame; run: pip install "dreamenv[play]"'
        ) from error
    try:
        return asyncio.run(_Play(stage, pygame).run())
    finally:
        pygame.quit()
        stage.close()


class _Play:
    def __init__(self, stage: Stage, pygame: Any) -> None:
        self._pygame, self._session = pygame, Session(stage)
        self._down: set[str] = set()
        self._controls: list[dict[str, Any]] = []
        self._idle: Any = 0
        self._header: dict[str, Any] = {}
        self._frames: list[np.ndarray] = []
        self._notice = ""
        self._surface: Any = None

    async def run(self) -> int:
        pygame, session = self._pygame, self._session
        pygame.init()
        pygame.display.set_caption("dreamenv play")
        try:
            self._take(await session.welcome(""))
            going = True
            while going:
                began = time.monotonic()
                for event in pygame.event.get():
                    if event.type == pygame.QUIT:
                        going = False
                    elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
                        name = _browser_name(pygame.key.name(event.key))
                        going &= await self._on_key(name, event.type == pygame.KEYDOWN)
                self._take(await session.tick())
                self._draw()
                await asyncio.sleep(max(0.0, began + 1 / session.fps - time.monotonic()))
            return 0
        finally:
            await session.close()

    async def _on_key(self, name: str, down: bool) -> bool:
        """Handle a key; False if it ends the program. Keys of the environment come first."""
        own = {key for control in self._controls for key in control["keys"]}
        if name in own:
            (self._down.add if down else self._down.discard)(name)
            action = self._action()
            kind = "step" if self._session.paused and down else "act"
            await self._say(kind, action=action, n=0)
        elif down and name == "q":
            return False
        elif down:
            step, header = self._session.step, self._header
            if name in (" ", PAUSE):
                await (self._say("begin") if header["over"] else
                       self._say("pause", on=not self._session.paused))  # fmt: skip
            elif name == NEW:
                await self._say("begin")
            elif name == FORK:
                await self._say("fork")
            elif name == BESIDE:
                await self._say("real", on="real" not in header["worlds"])
            elif name == BACK:
                await self._say("go", step=max(0, step - 1))
            elif name == FORWARD and step < header["last"]:
                await self._say("go", step=step + 1)
            elif name == FORWARD:
                await self._say("step", n=0)
        return True

    def _action(self) -> Any:
        """Of the keys that are held: the most of them together that mean one."""
        held = [x for x in self._controls if x["keys"] and set(x["keys"]) <= self._down]
        if not held:
            return None
        if isinstance(self._idle, list):
            every = np.array([self._idle, *(x["action"] for x in self._controls)])
            total = every[0] + sum(np.array(x["action"]) - every[0] for x in held)
            return total.clip(every.min(0), every.max(0)).tolist()
        return max(held, key=lambda x: len(x["keys"]))["action"]

    async def _say(self, kind: str, **values: Any) -> None:
        message = read_message(json.dumps({"type": kind, **values}))
        self._take(await self._session.handle(message))

    def _take(self, said: list[Out]) -> None:
        for each in said:
            if isinstance(each, bytes):
                header, parts = unpack(each)
                if header["type"] == "frame":
                    self._header, self._frames = header, [decode(part) for part in parts]
            elif each["type"] == "begun":
                self._controls, self._idle, self._notice = each["controls"], each["idle"], ""
            elif each["type"] == "notice":
                self._notice = each["text"]

    def _draw(self) -> None:
        pygame = self._pygame
        picture = side_by_side(self._frames)
        zoom = max(1, LEAST_HEIGHT // picture.shape[0])
        width, height = zoom * picture.shape[1], zoom * picture.shape[0]
        lines = [self._told(), self._notice or HELP]
        size = max(width, 560), height + LINE * len(lines) + 10
        if self._surface is None or self._surface.get_size() != size:
            self._surface = pygame.display.set_mode(size)
        self._surface.fill((20, 22, 28))
        image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        place = ((size[0] - width) // 2, 0)
        self._surface.blit(pygame.transform.scale(image, (width, height)), place)
        font = pygame.font.Font(None, 22)
        for i, line in enumerate(lines):
            text = font.render(line[:110], True, (230, 228, 221) if i == 0 else (150, 153, 163))
            self._surface.blit(text, (8, height + 8 + LINE * i))
        pygame.display.flip()

    def _told(self) -> str:
        header = self._header
        parts = [f"step {header['step']}"]
        for world in header["worlds"]:
            told = header[world]
            parts.append(f"{world}: return {told['return']}")
            if told.get("trust") is not None:
                parts.append(f"trust {told['trust']:.2f}")
        parts += [header["agent"] or "", header["over"] or ("paused" if header["paused"] else "")]
        return "   ".join(part for part in parts if part)


def _browser_name(name: str) -> str:
    """A key of pygame as browsers call it."""
    arrows = {"left": "ArrowLeft", "right": "ArrowRight", "up": "ArrowUp", "down": "ArrowDown"}
    return arrows.get(name, " " if name == "space" else name)
