"""`Glimpses`: short dreams of a checkpoint, made while somebody looks: strips, and how they age."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dreamenv.agents.loading import load_agent
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.life.features import look_at
from dreamenv.play.dreams import ENDLESS
from dreamenv.play.messages import plain

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Imagined steps that a strip shows."""
DREAMS, LENGTH = 8, 128
"""Dreams that a checkpoint's ageing is the mean of, and their steps."""
WATCHED = 2
"""Real frames before them in a strip."""
GAP = 2
"""Pixels between frames."""


@dataclass(frozen=True)
class Glimpse:
    """Some dreams under sticky random actions."""

    strips: NDArray[np.uint8]
    """(height, width, 3): a row for each dream, its last real frames first."""
    labels: list[str]
    """What stands above each column."""
    curves: dict[str, list[float | None]]
    """Means over the dreams at every step, 0 being the real frame: `uncertainty`, `trust` if it
    is calibrated, `expected` reward, and `sharpness` and `motion` as shares of what the real frames
    before have (`dreamenv.evaluation.life.features`)."""


class Glimpses:
    """Dreams of one checkpoint; made at the first look, and anew when its weights have changed.

    Args:
        checkpoint: folder, or `"bundled:NAME"`.
        device: torch device.
    """

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        self._checkpoint, self._device = checkpoint, device
        self._lock = threading.Lock()
        self._last: tuple[tuple[Any, ...], Glimpse] | None = None

    def look(self, passes: int | None, seed: int) -> Glimpse:
        """Dream, or show what was dreamt at the last look.

        Args:
            passes: denoising passes per frame; None for the checkpoint's.
            seed: of spawns, noise and actions.

        Raises:
            CheckpointError: the checkpoint cannot be dreamt.
            ConfigError: an argument is out of range.
        """
        with self._lock:
            env = DreamVectorEnv(
                DREAMS,
                self._checkpoint,
                horizon=ENDLESS,
                denoising_steps=passes,
                autoreset_mode=AutoresetMode.SAME_STEP,
                device=self._device,
            )
            asked = env.loaded.fingerprint, passes, seed
            if self._last is None or self._last[0] != asked:
                self._last = asked, _Looking(env, seed).glimpse()
            return self._last[1]


class _Looking:
    def __init__(self, env: DreamVectorEnv, seed: int) -> None:
        self.env, self.seed = env, seed
        self.agent = load_agent("sticky", env.single_action_space, seed)

    def glimpse(self) -> Glimpse:
        env = self.env
        observations, info = env.reset(seed=self.seed)
        spawns = env.spawns.frames[info["spawn"]]
        before = np.asarray(observations)
        shape = (-1, *spawns.shape[2:])
        real = look_at(spawns[:, 1:].reshape(shape), spawns[:, :-1].reshape(shape))
        sharpness, motion = (max(float(x.mean()), 1e-6) for x in (real.sharpness, real.motion))
        told: dict[str, list[float | None]] = {
            "uncertainty": [plain(info["uncertainty"].mean())],
            "expected": [None],
            "sharpness": [plain(look_at(before, before).sharpness.mean() / sharpness)],
            "motion": [None],
        }
        if "trust" in info:
            told["trust"] = [plain(info["trust"].mean())]
        columns = [*spawns[:, -WATCHED:].swapaxes(0, 1)]
        first = np.ones(DREAMS, np.bool_)
        for step in range(1, LENGTH + 1):
            actions = self.agent.act(before, first)
            first = np.zeros(DREAMS, np.bool_)
            after, _, _, _, info = env.step(actions)
            after = np.asarray(after)
            told["uncertainty"].append(plain(info["uncertainty"].mean()))
            told["expected"].append(plain(env.expected_rewards().mean()))
            looks = look_at(after, before)
            told["sharpness"].append(plain(looks.sharpness.mean() / sharpness))
            told["motion"].append(plain(looks.motion.mean() / motion))
            if "trust" in info:
                told["trust"].append(plain(info["trust"].mean()))
            if step in STEPS:
                columns.append(after)
            before = after
        labels = [f"real {i - WATCHED + 1}" for i in range(WATCHED)]
        return Glimpse(_sheet(columns), [*labels, *map(str, STEPS)], told)


def _sheet(columns: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Columns of frames (n, H, W, C) as one picture with a row for each of the n."""
    frames = np.stack(columns, 1)  # n, columns, H, W, C
    count, across, height, width = frames.shape[:4]
    sheet = np.full((count * (height + GAP), across * (width + GAP), 3), 255, np.uint8)
    for row in range(count):
        for column in range(across):
            top, left = row * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = frames[row, column]
    return sheet[:-GAP, :-GAP]
