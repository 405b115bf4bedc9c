"""The window of `dreamenv play --human` answers keys as the page does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dreamenv.play.limits import Limits
from dreamenv.play.stage import Stage, StageConfig
from dreamenv.play.window import _Play, play_in_window

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
pygame = pytest.importorskip("pygame")


def test_keys_pause_step_and_end_it(
    debug_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool, Any]] = []
    down, up = pygame.KEYDOWN, pygame.KEYUP
    # In every round of the loop: the keys that go down or up in it.
    story = [
        [(down, pygame.K_SPACE)], [(down, pygame.K_3)], [(up, pygame.K_3)], [(down, pygame.K_3)],
        [(down, pygame.K_COMMA)], [(down, pygame.K_f)], [(down, pygame.K_q)],
    ]  # fmt: skip
    rounds = iter(story)

    def events() -> list[Any]:
        return [pygame.event.Event(kind, key=key) for kind, key in next(rounds)]

    draw = _Play._draw

    def drawing(play: _Play) -> None:
        header = play._header
        seen.append((header["step"], header["paused"], header["action"]))
        draw(play)

    monkeypatch.setattr(pygame.event, "get", events)
    monkeypatch.setattr(_Play, "_draw", drawing)
    stage = Stage(StageConfig((str(debug_checkpoint),), out=tmp_path, fps=60), Limits())
    assert play_in_window(stage) == 0
    assert seen[0] == (0, True, None)
    assert [(step, action) for step, _, action in seen[1:5]] == [(1, 3), (1, 3), (2, 3), (1, 3)]
    assert all(paused for _, paused, _ in seen)
