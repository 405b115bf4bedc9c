"""Policies that collect rollouts: uniform and sticky for any environment, others by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from dreamenv.core.errors import MissingDependencyError, RolloutError
from dreamenv.rollouts.spaces import ActionSpace, require_action_space


class Policy(Protocol):
    """Chooses actions. The same environment state and seed give the same actions."""

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


def draw_action(space: ActionSpace, rng: np.random.Generator) -> Any:
    """Draw an action: int for Discrete, an array of the space's dtype for Box."""
    if not isinstance(space, Box):
        return int(space.start + rng.integers(space.n))
    assert space.dtype is not None
    drawn: Any
    if space.dtype.kind in "iu":
        low: Any = space.low
        drawn = rng.integers(low, space.high, dtype=low.dtype, endpoint=True)  # type: ignore[arg-type]
    else:
        drawn = np.clip(rng.uniform(space.low, space.high), space.low, space.high)
    return np.asarray(drawn, space.dtype)


# Name -> (module, class, keyword that the number behind the colon sets).
POLICIES: dict[str, tuple[str, str, str | None]] = {
    "uniform": (__name__, "UniformPolicy", None),
    "sticky": (__name__, "StickyPolicy", "stickiness"),
    "wandering": ("dreamenv.real.memory_maze.policies", "WanderingPolicy", None),
    "out_and_back": ("dreamenv.real.memory_maze.policies", "OutAndBackPolicy", "noise"),
    "secluded": ("dreamenv.real.memory_maze.secluded_policy", "SecludedPolicy", "steps"),
    "goal": ("dreamenv.real.memory_maze.policies", "GoalSeekingPolicy", "noise"),
}


AGENT = "agent:"
"""Policies whose spec begins so are agents; what follows is for `dreamenv.agents.loading`."""


@dataclass(frozen=True)
class AgentOptions:
    """How agents are loaded that act as policies.

    Attributes:
        trust: load files that could run code.
        memory: checkpoint of the world model whose memory agents may observe; "" for none.
    """

    trust: bool = False
    memory: str = ""


def make_policy(
    spec: str,
    agents: AgentOptions | None = None,
    identity: Mapping[str, str] | None = None,
) -> Policy:
    """Make a policy from its spec.

    Args:
        spec: "name" or "name:number", such as "sticky:0.8" or "goal:0.3"; or "agent:PATH".
        agents: how agents are loaded.
        identity: which agent it must be, see `dreamenv.agents.collecting.agent_identity`.

    Raises:
        RolloutError: the name is unknown or takes no number.
        MissingDependencyError: the policy needs an extra that is not installed.
    """
    if spec.startswith(AGENT):
        from dreamenv.agents.collecting import AgentPolicy

        agents = agents or AgentOptions()
        return AgentPolicy(spec.removeprefix(AGENT), agents.memory, agents.trust, identity)
    name, colon, number = spec.partition(":")
    if name not in POLICIES:
        nearest = difflib.get_close_matches(name, POLICIES, n=1, cutoff=0.0)[0]
        raise RolloutError(
            f"there is no policy {name!r}; did you mean {nearest!r}? "
            f"Known policies: {', '.join(POLICIES)}, and agent:PATH for a trained agent"
        )
    module_name, class_name, keyword = POLICIES[name]
    arguments: dict[str, float] = {}
    if colon:
        if keyword is None:
            raise RolloutError(f"the policy {name!r} takes no number; write just {name!r}")
        try:
            arguments[keyword] = float(number)
        except ValueError:
            raise RolloutError(
                f"{spec!r}: {number!r} is no number; write for example '{name}:0.5'"
            ) from None
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the policy {name!r} needs {error.name}; "
            "install it with `pip install 'dreamenv[memory-maze]'`"
        ) from error
    policy: Policy = getattr(module, class_name)(**arguments)
    return policy
