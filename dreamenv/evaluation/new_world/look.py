"""What a few thousand steps tell of an environment: spaces, lengths, ends, rewards, motion."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from dreamenv.core.errors import RolloutError
from dreamenv.real.plugin import collecting
from dreamenv.rollouts.collect import collect, stored_steps
from dreamenv.rollouts.collect_checks import env_limit, find_environment
from dreamenv.rollouts.pictures import Picture
from dreamenv.rollouts.spaces import require_action_space
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import reward_table
from dreamenv.training.data import sample_pairs
from dreamenv.training.moving import moving_pixels
from dreamenv.training.rewards import all_rewards, fit_rewards, say_rewards

CANDIDATES = {"uniform": 1.0, "sticky:0.6": 1.0, "sticky:0.9": 1.0}
"""Policies that are compared where the environment's family names none."""
HELD_OUT = 5
"""A fifth of the steps is collected once more from other seeds, to measure on."""
UNLIMITED = 1000
"""Steps after which episodes are cut that the environment never ends."""
FEW_EVENTS = 1.0
"""Reward events in 1,000 steps below which a model sees too few of them."""
MOVES_LITTLE = 0.05
"""Share of pixels that change from frame to frame up to which they are told to count more."""
PAIRS = 256
SIDE = 64
"""Height and width of the square of as many pixels as a proposed frame has at most."""
REPEATED = 20
"""Steps that are played twice, to see whether seed and actions decide what is seen."""


@dataclass(frozen=True)
class Look:
    """An environment as its first steps show it."""

    env_id: str
    env_kwargs: dict[str, Any]
    image_key: str
    store: RolloutStore
    held_out: RolloutStore
    steps_per_second: float
    """Of collecting with one process, its start included."""
    cut_after: int | None
    """Steps after which episodes are to be cut; None where the environment does it."""
    moving_share: float
    """Share of pixels that change from frame to frame."""
    repeats: bool
    """Whether the same seed and actions give the same frames and rewards."""
    mixture: dict[str, float]
    """Policies and weights to collect with."""

    @property
    def moves_little(self) -> bool:
        """Whether what moves is so small that a tokenizer may erase it."""
        return 0 < self.moving_share < MOVES_LITTLE

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width to dream: the picture's own form, in steps of 16, and not too large."""
        return fitting_size(*self.store.observation_space.shape[:2])

    @property
    def terminated(self) -> int:
        """Episodes that ended by themselves."""
        store = self.store
        ends = (store.read_steps(i)["terminated"][-1:].any() for i in range(store.num_episodes))
        return sum(map(bool, ends))

    def lines(self) -> list[str]:
        """What was found, and after "note:" what asks for a decision."""
        store = self.store
        lengths = store.lengths
        rewards = all_rewards(store)
        repeat = "repeat" if self.repeats else "do not repeat"
        found = [
            f"environment   {self.env_id}",
            f"observation   {store.observation_space.shape} uint8",
            f"action        {store.action_space}",
            f"episodes      {store.num_episodes} of {lengths.min()} to {lengths.max()} steps "
            f"(median {np.median(lengths):g}), {self.terminated} of them terminated",
            f"rewards       {say_rewards(*fit_rewards(rewards))}",
            f"motion        {self.moving_share:.1%} of the pixels change from frame to frame",
            f"speed         {self.steps_per_second:.0f} steps a second in one process",
            f"seeds         the same seed and actions {repeat}",
            "",
            reward_table(store),
            "",
        ]
        return found + [f"note: {each}" for each in self.notes()]

    def notes(self) -> list[str]:
        """A sentence on each thing that may go wrong, and what helps."""
        store, notes = self.store, []
        events = 1000 * float(store.reward_events.sum()) / max(1, store.num_steps)
        if events == 0:
            notes.append(
                "no policy met a reward, so a dream of this would never pay: collect with a policy "
                "that does, such as a trained agent (--policy agent:PATH)"
            )
        elif events < FEW_EVENTS:
            notes.append(
                f"{events:.2f} reward events in 1,000 steps are few for a model to learn from: "
                "collect more, or with a policy that meets more"
            )
        if self.moves_little:
            notes.append(
                "what moves is small, and a tokenizer may erase it: it is told to count more "
                "(--moving-pixels), and training says what is lost"
            )
        if self.moving_share == 0:
            notes.append("hardly anything moves: is the picture the right observation?")
        if not self.repeats:
            notes.append(
                "the environment cannot be brought back to a recorded place, so that a gap report "
                "begins real episodes from the environment's own starts: does reset(seed=...) seed "
                "everything?"
            )
        if self.cut_after:
            notes.append(f"episodes have no limit of their own and are cut after {self.cut_after}")
        if int(np.median(store.lengths)) < 16:
            notes.append("half of the episodes are shorter than 16 steps: dreams will be, too")
        return notes


def fitting_size(height: int, width: int) -> tuple[int, int]:
    """Sides of frames in multiples of 16, of about their form and of 64 × 64 pixels at most."""
    scale = min(1.0, SIDE / (height * width) ** 0.5)
    rows, columns = (max(16, 16 * round(side * scale / 16)) for side in (height, width))
    return rows, columns


def look_at(
    env_id: str,
    env_kwargs: dict[str, Any],
    frames: int,
    out: Path,
    seed: int = 0,
    image_key: str = "",
) -> Look | None:
    """Collect a little of an environment and look at it.

    Args:
        env_id: Gymnasium id, "module:id" imports a module first.
        env_kwargs: its arguments.
        frames: steps with each of the policies that are compared.
        out: folder of the rollouts, `look` and `look_held_out`; they are gone on with.
        seed: number of the streams of episodes, which take this and the number after it.
        image_key: entry of the observations that is the frame, if it is not clear.

    Returns:
        None if interrupted.

    Raises:
        RolloutError: it cannot be made, or nothing of it can be dreamt; says what helps.
        ConfigError: there is no such id.
    """
    find_environment(env_id)
    repeats = _play_twice(env_id, env_kwargs, image_key)
    cut = None if env_limit(env_id, env_kwargs) else UNLIMITED
    told = collecting(env_id)
    named = told != {"sticky": 1.0}
    compared = told if named else CANDIDATES
    wanted = frames if named else frames * len(CANDIDATES)
    # Whole episodes are stored: one of each policy may take longer than was wanted of all.
    stores = out / "look", out / "look_held_out"
    seconds, steps = 0.0, 0
    for number, (place, count) in enumerate(zip(stores, (wanted, wanted // HELD_OUT), strict=True)):
        began, before = time.perf_counter(), stored_steps(place)
        if not collect(
            env_id, count, compared, 1, place, seed + number, env_kwargs, cut, image_key=image_key
        ):
            return None
        seconds += time.perf_counter() - began
        steps += stored_steps(place) - before
    store, held_out = map(RolloutStore, stores)
    return Look(
        env_id,
        env_kwargs,
        image_key,
        store,
        held_out,
        steps / seconds if steps else 0.0,
        cut,
        _moving_share(store),
        repeats,
        told if named else _by_rewards(store),
    )


def _by_rewards(store: RolloutStore) -> dict[str, float]:
    """The policy that met most rewards for most episodes, and the others for what it never sees."""
    rates = {}
    for name in CANDIDATES:
        chosen = np.array([policy == name for policy in store.policies])
        steps = int(store.lengths[chosen].sum())
        rates[name] = store.reward_events[chosen].sum() / steps if steps else 0.0
    best = max(reversed(rates), key=lambda name: rates[name])  # of equals the stickiest
    return {best: 0.6} | {name: 0.2 for name in CANDIDATES if name != best}


def _moving_share(store: RolloutStore) -> float:
    size = fitting_size(*store.observation_space.shape[:2])
    pairs = sample_pairs(store, PAIRS, np.random.default_rng(0), size)
    return float(moving_pixels(torch.from_numpy(pairs)).double().mean())


def _play_twice(env_id: str, env_kwargs: dict[str, Any], image_key: str) -> bool:
    """Whether the same seed and actions lead to the same frames and rewards.

    Raises:
        RolloutError: the environment cannot be made, or its spaces cannot be dreamt.
    """
    try:
        env = gymnasium.make(env_id, **env_kwargs)
    except gymnasium.error.Error as error:
        raise RolloutError(f"{env_id} cannot be made: {error}") from error
    try:
        picture = Picture.of(env.observation_space, image_key)
        require_action_space(env.action_space)
        walks = []
        for _ in range(2):
            env.action_space.seed(0)
            observation, _ = env.reset(seed=0)
            walk: list[Any] = [np.array(picture(observation))]
            for _ in range(REPEATED):
                action = env.action_space.sample()
                observation, reward, terminated, truncated, _ = env.step(action)
                walk += [np.array(picture(observation)), float(reward)]
                if terminated or truncated:
                    break
            walks.append(walk)
    finally:
        env.close()
    first, second = walks
    return len(first) == len(second) and all(map(np.array_equal, first, second))
