"""Policies that collect rollouts: uniform and sticky for any environment, others by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from dreamenv.core.action_rows import parts_of
from dreamenv.core.errors import RolloutError
from dreamenv.real.plugin import Family, Parametrized, families
from dreamenv.rollouts.spaces import require_action_space


class Policy(Protocol):
    """A policy chooses actions. The same environment state and seed give the same actions."""

    name: str

    def reset(self, env: gymnasium.Env, seed: int) -> None:
        """Begin an episode; `env` has just been reset."""
        ...

    def act(self, observation: np.ndarray) -> Any:
        """Return an action for the newest observation (H, W, C)."""
        ...


class UniformPolicy:
    """Draws every action uniformly from the space."""

    name = "uniform"

    def reset(self, env: gymnasium.Env, seed: int) -> None:
        """Begin an episode with its own random stream."""
        self._space = require_action_space(env.action_space)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: np.ndarray) -> Any:
        """Return a fresh draw."""
        return draw_action(self._space, self._rng)


class StickyPolicy(UniformPolicy):
    """Repeats its last action with probability `stickiness`, else draws a new one.

    Long stretches of one action carry an agent further than uniform noise does.
    """

    name = "sticky"

    def __init__(self, stickiness: float = 0.9) -> None:
        if not 0.0 <= stickiness < 1.0:
            raise RolloutError(f"stickiness must be in [0, 1), not {stickiness}")
        self.stickiness = stickiness

    def reset(self, env: gymnasium.Env, seed: int) -> None:
        """Begin an episode with its own random stream."""
        super().reset(env, seed)
        self._action: Any = None

    def act(self, observation: np.ndarray) -> Any:
        """Return the last action or a fresh draw."""
        if self._action is None or self._rng.random() >= self.stickiness:
            self._action = draw_action(self._space, self._rng)
        return self._action


def draw_action(space: Space, rng: np.random.Generator) -> Any:
    """Draw an action: int for Discrete, an array of the space's dtype, or these nested."""
    if isinstance(space, Tuple):
        return tuple(draw_action(part, rng) for _, part in parts_of(space))
    if isinstance(space, Dict):
        return {name: draw_action(part, rng) for name, part in parts_of(space)}
    if isinstance(space, Discrete):
        return int(space.start + rng.integers(space.n))
    assert space.dtype is not None
    if isinstance(space, MultiDiscrete):
        return np.asarray(space.start + rng.integers(space.nvec), space.dtype)
    if isinstance(space, MultiBinary):
        return rng.integers(2, size=space.shape, dtype=np.int8)
    assert isinstance(space, Box)
    drawn: Any
    if space.dtype.kind in "iu":
        low: Any = space.low
        drawn = rng.integers(low, space.high, dtype=low.dtype, endpoint=True)  # type: ignore[arg-type]
    else:
        drawn = np.clip(rng.uniform(space.low, space.high), space.low, space.high)
    return np.asarray(drawn, space.dtype)


GENERIC = {
    "uniform": Parametrized(f"{__name__}:UniformPolicy"),
    "sticky": Parametrized(f"{__name__}:StickyPolicy", "stickiness"),
}
"""Policies for any environment; families of environments bring their own besides."""


def policies() -> dict[str, tuple[Parametrized, Family | None]]:
    """Name → the policy, and the family that brings it."""
    known: dict[str, tuple[Parametrized, Family | None]] = {}
    for family in families():
        known |= {name: (policy, family) for name, policy in family.policies.items()}
    return known | {name: (policy, None) for name, policy in GENERIC.items()}


AGENT = "agent:"
"""Policies whose spec begins so are agents; what follows is for who loads them."""


class AgentLoader(Protocol):
    """A loader of the agents that act as policies. It is pickled, since workers load them."""

    @property
    def memory(self) -> str:
        """Checkpoint of the world model whose memory agents may observe; "" for none."""
        ...

    def identify(self, agents: Sequence[str]) -> list[dict[str, str]]:
        """The identity of each agent: plain data that changes when the agent does. None is loaded.

        Raises:
            DreamEnvError: there is no such agent, or it may not be loaded.
        """
        ...

    def policy(self, agent: str, identity: Mapping[str, str]) -> Policy:
        """The policy that acts as an agent does, which must still be what was identified.

        Args:
            agent: what follows `AGENT` in the spec.
            identity: see `identify`; {} for whatever is there.
        """
        ...


def require_loader(loader: AgentLoader | None, spec: str) -> AgentLoader:
    """Return the loader, which a policy that is an agent needs.

    Raises:
        RolloutError: there is none.
    """
    if loader is None:
        raise RolloutError(
            f"the policy {spec!r} is an agent, and nothing was handed in that loads agents: call "
            "dreamenv.collect, or give collect agents=dreamenv.SavedAgents()"
        )
    return loader


def make_policy(
    spec: str,
    loader: AgentLoader | None = None,
    identity: Mapping[str, str] | None = None,
) -> Policy:
    """Make a policy from its spec.

    Args:
        spec: "name" or "name:number", such as "sticky:0.8" or "goal:0.3"; or "agent:PATH".
        loader: loads it if it is an agent.
        identity: which agent it must be, see `AgentLoader.identify`.

    Raises:
        RolloutError: the name is unknown or takes no number, or nothing loads agents.
        MissingDependencyError: the policy needs an extra that is not installed.
    """
    if spec.startswith(AGENT):
        return require_loader(loader, spec).policy(spec.removeprefix(AGENT), identity or {})
    name, colon, number = spec.partition(":")
    known = policies()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise RolloutError(
            f"there is no policy {name!r}; did you mean {nearest!r}? "
            f"Known policies: {', '.join(known)}, and agent:PATH for a trained agent"
        )
    policy, family = known[name]
    arguments: dict[str, float] = {}
    if colon:
        if policy.number is None:
            raise RolloutError(f"the policy {name!r} takes no number; write just {name!r}")
        try:
            arguments[policy.number] = float(number)
        except ValueError:
            raise RolloutError(
                f"{spec!r}: {number!r} is no number; write for example '{name}:0.5'"
            ) from None
    if family is None:
        made: Policy = globals()[policy.place.partition(":")[2]](**arguments)
    else:
        made = family.load(policy.place)(**arguments)
    return made
