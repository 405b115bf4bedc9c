"""`dreamenv collect`: record rollouts of an environment into a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from dreamenv.agents.collecting import SavedAgents
from dreamenv.cli import INTERRUPTED
from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.errors import RolloutError
from dreamenv.real.plugin import collecting
from dreamenv.rollouts.collect import STEP_TIMEOUT, collect, stored_steps
from dreamenv.rollouts.policies import AGENT
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.summary import frames_taken_from, reward_table, skipped_table


@dataclass(frozen=True)
class Options:
    """What to record, and where."""

    env: str
    """Gymnasium id, or module:id."""
    frames: int
    """Steps wanted in the store, all runs together."""
    out: Path
    """Folder of the store; continued if it exists."""
    policy: tuple[str, ...] = ()
    """One or more policies: uniform, sticky, those that the environment's family brings, and
    agent:PATH, a trained agent. name:number sets a policy's parameter, =weight its share of the
    episodes. By default those that the family names for the environment, else sticky."""
    workers: int = 1
    """Processes, each with its own environment."""
    where: Annotated[Backend, arg(name="")] = LOCAL
    """Where they run."""
    seed: int | None = None
    """Number of the stream that the episodes' seeds are from: the same gives the same episodes,
    stores of different ones share none. By default a new store gets a fresh one and notes it."""
    max_episode_steps: int | None = None
    """Cut episodes here."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    record_info: tuple[str, ...] = ()
    """Keys of numeric infos to record."""
    step_timeout: float = STEP_TIMEOUT
    """Seconds after which a step or a reset of the environment hangs; its seed is skipped."""
    trust_agent: bool = False
    """Load zips of Stable-Baselines3, although they hold pickled objects, which run any code."""
    agent_memory: str = ""
    """Checkpoint of the world model whose memory an agent observes."""
    image_key: str = ""
    """Entry of the observations that is the frame, such as rgb or camera/front. It may be left out
    where one entry alone is a picture."""


def run(options: Options) -> int:
    """Collect, then print what is stored; 130 if interrupted."""
    before = stored_steps(options.out)
    complete = collect(
        options.env,
        options.frames,
        parse_mixture(list(options.policy)) or collecting(options.env),
        options.workers,
        options.out,
        options.seed,
        options.env_kwargs,
        options.max_episode_steps,
        options.record_info,
        step_timeout=options.step_timeout,
        agents=SavedAgents(options.trust_agent, options.agent_memory),
        image_key=options.image_key,
        backend=options.where,
    )
    if not complete:
        print("interrupted; run the same command again to continue")
    try:
        store = RolloutStore(options.out)
    except RolloutError:
        if complete:
            raise
        return INTERRUPTED  # stopped before there was a store
    if complete and store.num_steps == before:
        print(f"there are {options.frames} frames or more already: nothing was recorded")
    print(f"{store.num_steps} frames in {store.num_episodes} episodes are stored in {options.out}")
    if taken := frames_taken_from(store):
        print(f"frames are {taken}")
    print(f"their seeds are from stream {store.metadata['collect']['seed']} (--seed)")
    if store.skipped:
        print(skipped_table(store))
    print(reward_table(store))
    return 0 if complete else INTERRUPTED


def parse_mixture(specs: list[str]) -> dict[str, float]:
    """Turn ["goal:0.3=0.6", "sticky=0.4"] into weights by policy; no weight means 1.

    The path of an agent may hold equals signs: what follows the last is the weight, unless there
    is an agent of the whole name.

    Raises:
        RolloutError: a weight is no number, a policy is named twice, or there are agents by the
            name with and without what could be a weight.
    """
    mixture: dict[str, float] = {}
    for item in specs:
        spec, weight = _split_weight(item)
        if spec in mixture:
            raise RolloutError(f"the policy {spec!r} is given twice; add its weights up")
        try:
            mixture[spec] = float(weight) if weight else 1.0
        except ValueError:
            raise RolloutError(f"{item!r}: {weight!r} is no weight; write '{spec}=0.5'") from None
    return mixture


def _split_weight(item: str) -> tuple[str, str]:
    if not item.startswith(AGENT):
        spec, _, weight = item.partition("=")
        return spec, weight
    spec, equals, weight = item.rpartition("=")
    if not equals:
        return item, ""
    from dreamenv.agents.finding import has_agent

    whole, without = (has_agent(name.removeprefix(AGENT)) for name in (item, spec))
    if whole and without:
        raise RolloutError(
            f"{item!r} is the name of an agent, and {spec!r} is too; write '{item}=1' or "
            f"'{spec}=1' and so on, so that it is clear which"
        )
    return (item, "") if whole else (spec, weight)
