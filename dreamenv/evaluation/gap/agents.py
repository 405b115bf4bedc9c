"""The agents of a gap report, and what they are called in it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gymnasium.spaces import Space

from dreamenv.agents.finding import PICKLED, SAFE, find_agent, is_scripted
from dreamenv.agents.loading import Agent, load_agent


@dataclass(frozen=True)
class GapAgent:
    """An agent that was found, loaded once, and given a name."""

    label: str
    """Unlike that of any other."""
    spec: str
    kind: str
    """Algorithm, or the name of a scripted agent."""
    observation: str
    """What it must be shown, "frame" or "memory"."""
    identity: str
    """Changes when the agent does: its name, or the SHA-256 of its file."""
    in_full: bool
    """Whether more than its returns is reported."""

    def load(self, actions: Space, seed: int, observations: Space) -> Agent:
        """The agent itself, checked against the spaces of an environment.

        Raises:
            CheckpointError: it was trained with others, or its file is gone.
        """
        # Whoever made this has loaded it before, hence was trusted with it.
        return load_agent(self.spec, actions, seed, observation_space=observations, trust=True)


def gap_agents(
    agents: Sequence[str], population: Sequence[str], actions: Space, trust: bool
) -> list[GapAgent]:
    """Load every agent once, to know it; the same agent given twice counts once.

    Raises:
        CheckpointError: no such agent, or one of other actions.
        UntrustedAgentError: one is a zip, and its author is not trusted.
    """
    found: dict[str, GapAgent] = {}
    specs = list(map(str, [*agents, *population]))
    labels = _labels(specs)
    for i, spec in enumerate(specs):
        identity = spec
        if not is_scripted(spec):
            identity = hashlib.sha256(find_agent(spec).read_bytes()).hexdigest()
        if identity not in found:
            agent = load_agent(spec, actions, seed=0, trust=trust)
            found[identity] = GapAgent(
                labels[spec], spec, agent.name, agent.observation, identity, i < len(agents)
            )
    return list(found.values())


def _labels(specs: Sequence[str]) -> dict[str, str]:
    """Short names of different specs: as many of the last parts of a path as it takes."""
    parts = {
        spec: [spec] if is_scripted(spec) else _telling_parts(Path(spec))
        for spec in dict.fromkeys(specs)
    }
    short = {spec: 1 for spec in parts}
    while True:
        named = {spec: "/".join(parts[spec][-count:]) for spec, count in short.items()}
        names = list(named.values())
        clashing = [
            spec
            for spec, name in named.items()
            if names.count(name) > 1 and short[spec] < len(parts[spec])
        ]
        if not clashing:
            break
        for spec in clashing:
            short[spec] += 1
    return {
        spec: f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, (spec, name) in enumerate(named.items())
    }


def _telling_parts(path: Path) -> list[str]:
    """The parts of a path, without what all agents' files share."""
    parts = [*path.parent.parts, path.stem if path.suffix in (SAFE, PICKLED) else path.name]
    telling = [part for part in parts if part not in ("/", "agent", "kept", ".", "..")]
    return telling or [str(path)]
