"""What to run for a new world: policies, sizes, updates, and the commands with them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dreamenv.core.files import atomic_write_bytes
from dreamenv.evaluation.new_world.look import Look
from dreamenv.evaluation.new_world.speed import MOVING, WINDOW, Speed, window_of

TOKENIZER_SHARE = 0.2
"""Share of the time that the tokenizer gets."""
TOKENIZER_UPDATES, DYNAMICS_UPDATES = (300, 6000), (500, 20_000)
"""Fewest, which take longer than was asked for rather than learn nothing, and most."""
ENOUGH = 2000
"""Updates of the dynamics that a preset must have time for to be proposed, if there is another."""
FRAMES = (10_000, 300_000)
"""Fewest and most to collect."""


@dataclass(frozen=True)
class Proposal:
    """How to collect and train, and how long it takes."""

    look: Look
    out: Path
    preset: str
    tokenizer_updates: int
    dynamics_updates: int
    frames: int
    workers: int
    minutes: float
    """Of training, by the measured speed."""
    collecting_minutes: float
    speeds: Mapping[str, Speed]

    def lines(self) -> list[str]:
        """What is proposed and why."""
        look = self.look
        measured = ", ".join(
            f"{name} {each.tokenizer:.2f} s and {each.dynamics:.2f} s"
            for name, each in self.speeds.items()
        )
        return [
            f"speed         an update of tokenizer and dynamics takes: {measured}",
            f"proposed      preset {self.preset}, {self.tokenizer_updates} and "
            f"{self.dynamics_updates} updates: about {self.minutes:.0f} minutes of training on "
            f"{self.frames} frames of {look.frame_size[0]} by {look.frame_size[1]}, which take "
            f"about {self.collecting_minutes:.0f} minutes to collect",
        ]

    def script(self, seed: int) -> str:
        """The commands, one a line, from the environment to its dream."""
        look, out = self.look, self.out
        common = ["--env", look.env_id]
        if look.env_kwargs:
            common += ["--env-kwargs", json.dumps(look.env_kwargs)]
        policies = [f"{name}={weight:g}" for name, weight in look.mixture.items()]
        common += ["--policy", *policies, "--workers", str(self.workers)]
        if look.image_key:
            common += ["--image-key", look.image_key]
        if look.cut_after:
            common += ["--max-episode-steps", str(look.cut_after)]
        train, held_out, model = (str(out / name) for name in ("train", "held_out", "model"))
        few = str(max(2000, self.frames // 10))
        options = ["--preset", self.preset]
        if look.frame_size != (64, 64):
            options += ["--frame-size", *map(str, look.frame_size)]
        if window_of(look) != WINDOW:
            options += ["--window", str(window_of(look))]
        if look.moves_little:
            options += ["--moving-pixels", f"{MOVING:g}"]
        options += ["--tokenizer.steps", str(self.tokenizer_updates)]
        options += ["--dynamics.steps", str(self.dynamics_updates)]
        dream = ["--dream", "DreamEnv-v0", "--dream-kwargs", f"checkpoint={model}"]
        real = ["--real", look.env_id]
        if look.env_kwargs:
            real += ["--real-kwargs", json.dumps(look.env_kwargs)]
        verbs = [
            ["collect", *common, "--frames", str(self.frames), "--seed", str(seed + 2),
             "--out", train],
            ["collect", *common, "--frames", few, "--seed", str(seed + 3), "--out", held_out],
            ["train", "--data", train, "--held-out", held_out, "--out", model, *options],
            ["life", "--checkpoint", model, "--rollouts", held_out, "--horizon", "256",
             "--out", str(out / "life")],
            ["gap", "--agents", "random", *dream, *real, "--out", str(out / "gap")],
        ]  # fmt: skip
        return "\n".join(shlex.join(["dreamenv", *words]) for words in verbs)

    def write(self, out: Path, seed: int) -> Path:
        """Write the commands to commands.sh in a folder."""
        path = out / "commands.sh"
        text = f"#!/bin/sh\nset -eu\n{self.script(seed)}\n"
        atomic_write_bytes(path, text.encode())
        path.chmod(0o755)
        return path


def propose(look: Look, speeds: Mapping[str, Speed], out: Path, minutes: float) -> Proposal:
    """Size a training so that it takes so many minutes on this machine.

    Args:
        look: the environment.
        speeds: preset → what an update takes, the preferred one first.
        out: folder of everything.
        minutes: that training may take.
    """
    seconds = 60 * minutes
    possible = {name: (1 - TOKENIZER_SHARE) * seconds / s.dynamics for name, s in speeds.items()}
    name = next((name for name, updates in possible.items() if updates >= ENOUGH), [*speeds][-1])
    speed = speeds[name]
    tokenizer = _round(np.clip(TOKENIZER_SHARE * seconds / speed.tokenizer, *TOKENIZER_UPDATES))
    dynamics = _round(np.clip(possible[name], *DYNAMICS_UPDATES))
    workers = max(1, min(4, os.cpu_count() or 1))
    rate = max(look.steps_per_second, 1.0) * workers
    frames = int(np.clip(rate * seconds / 4, *FRAMES)) // 1000 * 1000
    return Proposal(
        look,
        out,
        name,
        tokenizer,
        dynamics,
        frames,
        workers,
        (tokenizer * speed.tokenizer + dynamics * speed.dynamics) / 60,
        1.1 * frames / rate / 60,
        speeds,
    )


def _round(updates: float) -> int:
    """Two digits are enough for a proposal."""
    step = 10 ** max(0, len(str(int(updates))) - 2)
    return int(updates) // step * step
