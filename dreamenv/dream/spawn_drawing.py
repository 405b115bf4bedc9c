"""Spawns are drawn from rollouts: evenly over a store's episodes, or near their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.dream.spawns import Spawns, write_spawns
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.spaces import space_to_dict
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows, length_of_most
from dreamenv.world_model.action_config import ActionConfig
from dreamenv.world_model.checkpoint import read_config
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.preprocessing import fit_frames

NEAR = 4, 24
"""Fewest and most steps from the end of a spawn to the next reward, for it to be near one."""


def spawn_length(store: RolloutStore, length: int, stride: int = 1) -> int:
    """The length of spawns to draw from a store, in frames.

    Args:
        store: of real rollouts.
        length: wanted; it is less if not half of the episodes can give that many.
        stride: every so many frames one is taken.

    Raises:
        RolloutError: half of the episodes have not even two frames `stride` steps apart.
    """
    # The last frame is no place to begin at.
    return length_of_most(store, length + 1, least=2, stride=stride) - 1


def draw_spawns(
    store: RolloutStore,
    count: int,
    length: int,
    size: tuple[int, int],
    seed: int = 0,
    pose: Sequence[str] = (),
    stride: int = 1,
    near_rewards: float = 0.0,
    latest_start: int | None = None,
) -> Spawns:
    """Cut `count` stretches of `length` frames, spread evenly over the store's episodes.

    None ends on an episode's last frame: from there neither world could go on.

    Args:
        store: of real rollouts.
        count: how many.
        length: frames of each.
        size: height and width that frames are brought to.
        seed: of the draw.
        pose: the infos that make up a pose; if given, poses stand where actions do.
        stride: every so many frames one is taken.
        near_rewards: share of the spawns, 0 … 1, that end `NEAR` steps before a reward; agents
            learn little where nothing happens. These too are spread evenly over the episodes
            that have such places, and over the places of each.
        latest_start: begin at this step of an episode at the latest: a real environment needs
            the fewer steps to get there.

    Raises:
        ConfigError: an argument is out of range.
        RolloutError: no episode is long enough, or none has a reward where one is wanted.
    """
    if count < 1 or length < 1 or not 0 <= near_rewards <= 1:
        raise ConfigError(
            f"spawns need a count and a length of at least 1 and near_rewards in 0 … 1, got "
            f"{count}, {length}, {near_rewards}"
        )
    if latest_start is not None and latest_start < 0:
        raise ConfigError(f"latest_start must be at least 0, not {latest_start}")
    rng = np.random.default_rng(seed)
    span = (length - 1) * stride + 1
    # How many places of each episode a stretch may begin at.
    rooms = {i: int(steps) + 1 - span for i, steps in enumerate(store.lengths) if steps >= span}
    if not rooms:
        longest = int(store.lengths.max(initial=0))
        raise RolloutError(
            f"no episode of {store.path} has the {span} frames of a spawn and one to go on to; "
            f"the longest has {longest + 1}: collect longer episodes or store shorter spawns"
        )
    usable = list(rooms)
    windows = Windows(store, length, usable, stride)
    if latest_start is not None:
        rooms = {i: min(room, latest_start + 1) for i, room in rooms.items()}
    near = _starts_near_rewards(store, rooms, span) if near_rewards else {}
    if near_rewards and not near:
        early = "" if latest_start is None else f" that begins at step {latest_start} or before"
        raise RolloutError(
            f"no reward in {store.path} comes {NEAR[0]} to {NEAR[1]} steps after a stretch of "
            f"{span} frames{early}; collect episodes of a policy that earns, or set near_rewards "
            "to 0"
        )
    wanted = round(count * near_rewards)
    frames, actions, sources = [], [], []
    for i in range(count):
        reward_in, chosen = None, i * wanted // count
        if (i + 1) * wanted // count > chosen:  # these are spread evenly over the spawns
            episode = list(near)[chosen % len(near)]
            start, reward_in = map(int, rng.choice(near[episode]))
        else:
            episode = usable[i % len(usable)]
            start = int(rng.integers(rooms[episode]))
        window = windows.read(episode, start)
        frames.append(fit_frames(window.frames, size))
        if pose:
            actions.append(read_poses(store, episode, pose)[start : start + span : stride])
        else:
            actions.append(window.action)
        sources.append(
            {
                "seed": store.seeds[episode],
                "policy": store.policies[episode],
                "start": start,
                "actions": store.read_steps(episode)["action"][: start + span - 1].tolist(),
                "near_reward": reward_in,
            }
        )
    return Spawns(np.stack(frames), np.stack(actions), sources)


def _starts_near_rewards(
    store: RolloutStore, rooms: dict[int, int], span: int
) -> dict[int, np.ndarray]:
    """Episode → its (places, 2) starts of `span` frames near a reward, and the steps to it."""
    found = {}
    for episode, room in rooms.items():
        arrivals = np.flatnonzero(store.read_steps(episode)["reward"]) + 1
        starts = np.arange(room)
        last = starts + span - 1
        upcoming = np.searchsorted(arrivals, last, side="right")
        reward_in = np.append(arrivals, np.iinfo(np.int64).max)[upcoming] - last
        near = (NEAR[0] <= reward_in) & (reward_in <= NEAR[1])
        if near.any():
            found[episode] = np.stack([starts[near], reward_in[near]], 1)
    return found


def spawns_from_rollouts(
    folder: str | Path,
    rollouts: str | Path,
    count: int,
    length: int,
    seed: int = 0,
    near_rewards: float = 0.0,
    latest_start: int | None = None,
) -> Spawns:
    """Draw spawns for the world model in a checkpoint folder from a rollout store.

    Args:
        folder: of the checkpoint.
        rollouts: a rollout store of the environment that its model learned.
        count: as for `draw_spawns`.
        length: as for `draw_spawns`.
        seed: as for `draw_spawns`.
        near_rewards: as for `draw_spawns`.
        latest_start: as for `draw_spawns`.

    Raises:
        RolloutError: the store is of another environment or action space than the model, or
            none of its episodes is long enough.
        ConfigError: an argument is out of range.
    """
    config, provenance = read_config(folder)
    store = RolloutStore(rollouts)
    if provenance.get("env_id", store.env_id) != store.env_id:
        raise RolloutError(
            f"{rollouts} holds {store.env_id}, but the world model in {folder} learned "
            f"{provenance['env_id']}; give it rollouts of that"
        )
    if store.image_key != config.image_key:
        raise RolloutError(
            f"the frames of {rollouts} are the entry {store.image_key!r} of the observations, but "
            f"the world model in {folder} learned {config.image_key!r}; collect with that "
            "--image-key"
        )
    if config.conditioning == "pose":
        run = provenance["training"]
        pose, stride = run["pose"].split(","), run["stride"]
    else:
        _require_same_actions(folder, config, rollouts, store)
        pose, stride = [], 1
    size = config.frame_size
    return draw_spawns(store, count, length, size, seed, pose, stride, near_rewards, latest_start)


def save_spawns(
    folder: str | Path,
    rollouts: str | Path,
    count: int,
    length: int,
    near_rewards: float = 0.0,
) -> None:
    """Draw spawns from a rollout store and write them into a checkpoint folder.

    Args:
        folder: of the checkpoint.
        rollouts: a rollout store of the environment that its model learned.
        count: as for `draw_spawns`.
        length: as for `draw_spawns`.
        near_rewards: as for `draw_spawns`.

    Raises:
        RolloutError, ConfigError: as `spawns_from_rollouts`; what was stored stays.
    """
    spawns = spawns_from_rollouts(folder, rollouts, count, length, near_rewards=near_rewards)
    write_spawns(folder, spawns)


def _require_same_actions(
    folder: str | Path, config: WorldModelConfig, rollouts: str | Path, store: RolloutStore
) -> None:
    actions = ActionConfig.of(space_to_dict(store.action_space))
    numbers = [(known.n, len(known.low), known.categories) for known in (actions, config.actions)]
    if numbers[0] != numbers[1]:
        raise RolloutError(
            f"{rollouts} has the action space {store.action_space}, but the world model in "
            f"{folder} was made for {config.actions}; give it rollouts of its own environment"
        )
