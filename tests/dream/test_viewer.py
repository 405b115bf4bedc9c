"""Dreams in a window and under the keys of a person; the screen is a dummy (conftest)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pygame
import pytest
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import EnvironmentUsageError, MissingDependencyError
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.keys import keys_to_action
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.dream.viewer import LEAST_WIDTH, tile
from tests.dream.counting_dream import install


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dreams of this test count, and nothing waits for the time of the next frame."""
    install(monkeypatch)
    monkeypatch.setitem(DreamVectorEnv.metadata, "render_fps", 1000)


def on_screen() -> np.ndarray:
    """What the window shows, (H, W, 3), one pixel of each enlarged one."""
    surface = pygame.display.get_surface()
    assert surface is not None
    return pygame.surfarray.array3d(surface).swapaxes(0, 1)


def test_frames_are_shown_at_every_reset_and_step(counting: None) -> None:
    env = DreamEnv(render_mode="human")
    frame, _ = env.reset(seed=0)
    zoom = LEAST_WIDTH // 16
    assert on_screen().shape == (LEAST_WIDTH, LEAST_WIDTH, 3)
    assert np.array_equal(on_screen()[::zoom, ::zoom], frame)
    frame, *_ = env.step(1)
    assert np.array_equal(on_screen()[zoom - 1 :: zoom, zoom - 1 :: zoom], frame)
    assert env.render() is None
    env.close()
    assert not pygame.display.get_init()
    env.close()


def test_a_vector_shows_its_slots_in_rows(counting: None) -> None:
    env = DreamVectorEnv(5, render_mode="human")
    env.reset(seed=0)
    frames, *_ = env.step(np.zeros(5, np.int64))
    zoom = LEAST_WIDTH // 48
    shown = on_screen()[::zoom, ::zoom]
    assert shown.shape == (32, 48, 3)
    assert np.array_equal(shown[:16, 32:], frames[2]) and np.array_equal(shown[16:, :16], frames[3])
    assert not shown[16:, 32:].any()  # there is no sixth
    env.close()


def test_tiles_of_grey_frames() -> None:
    frames = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) + np.zeros((3, 2, 2, 1), np.uint8)
    assert tile(frames)[::2, ::2].tolist() == [[[0] * 3, [1] * 3], [[2] * 3, [0] * 3]]


def test_without_pygame_the_extra_is_named(counting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "dreamenv\[play\]"'):
        DreamEnv(render_mode="human")
    DreamEnv(render_mode="rgb_array")


def test_a_person_plays(counting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key 2 is pressed and released; then the window is closed."""
    from gymnasium.utils import play

    env = gymnasium.make("DreamEnv-v0", horizon=50, render_mode="rgb_array")
    monkeypatch.setitem(env.unwrapped.metadata, "render_fps", 1000)
    taken: list[int] = []

    def watch(before: Any, after: Any, action: int, *rest: Any) -> None:
        taken.append(action)
        kind = {2: pygame.KEYDOWN, 4: pygame.KEYUP, 6: pygame.QUIT}.get(len(taken))
        if kind:
            key = {} if kind == pygame.QUIT else {"key": ord("2")}
            pygame.event.post(pygame.event.Event(kind, **key))

    play.play(env, callback=watch, seed=0)
    assert taken == [0, 0, 2, 2, 0, 0]


def test_keys_of_memory_maze() -> None:
    env = DreamEnv()
    keys = env.get_keys_to_action()
    codes = {"w": 1, "a": 2, "d": 3, "wa": 4, "wd": 5}
    for pressed, action in codes.items():
        assert keys[tuple(map(ord, pressed))] == action
    assert keys[(pygame.K_UP, pygame.K_LEFT)] == 4 and keys[(pygame.K_UP, pygame.K_RIGHT)] == 5
    assert set(keys.values()) == {1, 2, 3, 4, 5}  # to press nothing is action 0


def test_keys_of_other_environments(debug_checkpoint: Path) -> None:
    keys = DreamEnv(debug_checkpoint).get_keys_to_action()
    assert keys == {(ord(str(action)),): action for action in range(5)}
    assert keys_to_action("Other-v0", Discrete(12))[(ord("b"),)] == 11
    for space in (Discrete(37), Box(0, 1)):
        with pytest.raises(EnvironmentUsageError, match="give play.env, keys_to_action=...."):
            keys_to_action("Other-v0", space)
