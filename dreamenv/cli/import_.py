"""`dreamenv import`: read a data set that others recorded into a rollout store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from dreamenv.cli import INTERRUPTED
from dreamenv.rollouts.importers.run import import_rollouts
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import reward_table


@dataclass(frozen=True)
class Options:
    """What to import, and what its files do not say."""

    source: Positional[str]
    """Folder or file of the data set, or the id of a Minari data set on this machine."""
    out: Path
    """Folder of the store; an import that stopped is continued."""
    format: Literal[
        "auto",
        "npz",
        "minari",
        "memory-maze",
        "teco-minecraft",
        "teco-dmlab",
        "lerobot",
        "dreamer",
        "video",
    ] = "auto"
    """Layout of the data set; auto looks at its files."""
    env: str = ""
    """Id of the environment. By default what the data set says, or the name of its folder."""
    image_key: str = ""
    """Entry of the observations, or camera, that holds the frames, where there are several."""
    actions: Literal["", "leads", "follows"] = ""
    """Whether row t of the actions led to frame t or follows it, of formats that leave that open:
    dreamer and video, where the files do not show it."""
    action_space: dict[str, Any] = field(default_factory=dict)
    """Space of the actions, such as type=Discrete n=5 or type=Box low=-1 high=1 shape=[2]. By
    default what the data set says, or the range of all its actions."""
    policy: str = ""
    """Name of who acted, where the data set does not say."""
    frame_size: tuple[int, int] | None = None
    """Height and width that frames are resized to, each pixel the mean of the area it covers. By
    default they are stored as they come."""
    last_step: Literal["drop", "repeat"] = "drop"
    """Of formats that do not record the frame after the last action: drop that action, or repeat
    the last frame behind it, so that its reward and end are kept."""
    every: int = 1
    """Keep every so many frames; an action is then the tuple of those in between. Models of
    Minecraft are published for every second frame."""
    episodes: int | None = None
    """Stop when the store holds so many episodes."""
    skip_broken: bool = False
    """Leave out episodes that cannot be read, instead of stopping at the first."""


def run(options: Options) -> int:
    """Import, then print what is stored; 130 if interrupted."""
    done = import_rollouts(
        options.source,
        options.out,
        options.format,
        every=options.every,
        episodes=options.episodes,
        skip_broken=options.skip_broken,
        env=options.env,
        image_key=options.image_key,
        actions=options.actions,
        action_space=options.action_space,
        policy=options.policy,
        frame_size=options.frame_size,
        last_step=options.last_step,
    )
    if not done.complete:
        print("interrupted; run the same command again to continue")
    store = RolloutStore(options.out)
    before = f", {done.known} were there already" if done.known else ""
    print(f"{done.episodes} episodes ({done.steps} steps) imported from {done.format}{before}")
    for note in done.notes:
        print(f"note: {note}")
    if done.broken:
        print(f"{len(done.broken)} broken episodes were left out, the first: {done.broken[0]}")
    print(f"{store.num_steps} steps in {store.num_episodes} episodes are stored in {options.out}")
    print(reward_table(store))
    return 0 if done.complete else INTERRUPTED
