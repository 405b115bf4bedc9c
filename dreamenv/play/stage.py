"""`Stage`: what all sessions of a server share: checkpoints, agents, simulators, a folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gymnasium.spaces import Space

from dreamenv.agents.finding import scripted_names
from dreamenv.agents.loading import Agent, load_agent
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.dream.state import DreamState
from dreamenv.play.dreams import DreamPool
from dreamenv.play.limits import Limits
from dreamenv.play.real import RealWorld

STARTS, ENDING = "starts", ".dream"


@dataclass(frozen=True)
class StageConfig:
    """What is played, and with what."""

    checkpoints: tuple[str, ...] = ()
    """Folders, or `bundled:NAME`; the first is what a session begins with. None: no dream."""
    env: str = ""
    """The real environment; by default the one that the checkpoint learned."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    agents: tuple[str, ...] = ()
    """Agents that can take over, besides the scripted ones."""
    trust_agent: bool = False
    """Their files may run code."""
    out: Path = Path("played")
    """Where rollouts and start states are stored."""
    horizon: int = 500
    """Steps of an episode, unless the page asks for others."""
    passes: int | None = None
    """Denoising passes, unless the page asks for others."""
    fps: float = 15.0
    """Steps per second."""
    device: str = "auto"
    dtype: str = "auto"


class Stage:
    """Everything that sessions share.

    Args:
        config: what is played.
        limits: of how much of it at once.

    Raises:
        CheckpointError: a checkpoint cannot be dreamt.
        ConfigError: there is neither a checkpoint nor an environment.
    """

    def __init__(self, config: StageConfig, limits: Limits) -> None:
        self.config, self.limits = config, limits
        if not config.checkpoints and not config.env:
            raise ConfigError("there is nothing to play: give a checkpoint or an environment")
        self._dreaming = ThreadPoolExecutor(1, "dreaming")
        self._thinking = ThreadPoolExecutor(1, "agents")
        self.checkpoints = _names(config.checkpoints)
        self._pools: dict[str, DreamPool] = {}
        self._loading = asyncio.Lock()
        self._real_in_use = 0
        for name in list(self.checkpoints)[:1]:  # the first is there before anybody comes
            self._pools[name] = self._dreaming.submit(self._load, name).result()

    async def pool(self, name: str) -> DreamPool:
        """The dreams of a checkpoint, by its name on the page.

        Raises:
            ConfigError: this server has no such checkpoint.
            CheckpointError: it cannot be dreamt.
        """
        if name not in self.checkpoints:
            raise ConfigError(f"there is no checkpoint {name!r} here")
        async with self._loading:
            if name not in self._pools:
                loop = asyncio.get_running_loop()
                self._pools[name] = await loop.run_in_executor(self._dreaming, self._load, name)
        return self._pools[name]

    def agent_names(self) -> list[str]:
        """Names of the agents that may take over."""
        return [*scripted_names(), *_names(self.config.agents)]

    async def load_agent(self, name: str, space: Space, seed: int) -> Agent:
        """An agent of a session's own.

        Raises:
            ConfigError: this server has no such agent, or it does not know these actions.
            CheckpointError: it cannot be loaded, or acts elsewhere.
        """
        paths = _names(self.config.agents)
        if name not in paths and name not in scripted_names():
            raise ConfigError(f"there is no agent {name!r} here")
        spec, trust = paths.get(name, name), self.config.trust_agent
        return await self.think(lambda: load_agent(spec, space, seed, trust=trust))

    async def think(self, work: Any) -> Any:
        """Do what takes an agent's time, beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thinking, work)

    @asynccontextmanager
    async def counted(self) -> Any:
        """Count a real environment that is being made; it counts until `give_back`.

        Raises:
            DreamEnvError: there are as many as may be.
        """
        if self._real_in_use >= self.limits.real:
            raise DreamEnvError(
                f"all {self.limits.real} real environments of this server are in use; try later"
            )
        self._real_in_use += 1
        try:
            yield
        except BaseException:
            self._real_in_use -= 1
            raise

    async def open_real(self, env_id: str, beside: bool) -> RealWorld:
        """A real environment of a session's own; errors as `counted` and `RealWorld.start`."""
        async with self.counted():
            kwargs = self.config.env_kwargs if env_id == self.config.env else {}
            return await RealWorld.start(env_id, kwargs, beside)

    async def give_back(self, world: RealWorld) -> None:
        """End a real environment."""
        self._real_in_use -= 1
        await world.close()

    def starts(self) -> list[str]:
        """Names of the start states that were saved."""
        folder = self.config.out / STARTS
        return sorted(path.name.removesuffix(ENDING) for path in folder.glob(f"*{ENDING}"))

    async def load_start(self, name: str) -> DreamState:
        """A start state by its name.

        Raises:
            ConfigError: there is none of this name.
            CheckpointError: it is damaged.
        """
        if name not in self.starts():  # which also keeps paths out
            raise ConfigError(f"there is no start state {name!r} here")
        path = self.config.out / STARTS / f"{name}{ENDING}"
        return await self.think(lambda: DreamState.load(path))

    def new_start(self, stem: str) -> Path:
        """A file for another start state, whose name is not taken."""
        stem, taken = re.sub(r"[^\w-]+", "-", stem), set(self.starts())
        number = next(i for i in range(1, 10**6) if f"{stem}-{i}" not in taken)
        return self.config.out / STARTS / f"{stem}-{number}{ENDING}"

    def close(self) -> None:
        """Let the threads go."""
        for pool in (self._dreaming, self._thinking):
            pool.shutdown(wait=False, cancel_futures=True)

    def _load(self, name: str) -> DreamPool:
        config = self.config
        return DreamPool(
            self.checkpoints[name], self._dreaming, device=config.device, dtype=config.dtype
        )


def _names(paths: Sequence[str]) -> dict[str, str]:
    """A short name for each path, by which a page asks for it."""
    named: dict[str, str] = {}
    for path in paths:
        stem = path.partition(":")[2] if path.startswith("bundled:") else Path(path).stem
        name, number = stem or path, 2
        while name in named:
            name, number = f"{stem} ({number})", number + 1
        named[name] = path
    return named
