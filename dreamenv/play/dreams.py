"""`DreamPool`: the dreams of many sessions, stepped together in one batch of the model."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dreamenv.dream.belief import Belief, belief_of
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv

T = TypeVar("T")

ENDLESS = 2**31
"""Steps of an episode as the environment counts them: a session ends its own episodes."""
SEATINGS = 4
"""Batches of different sessions that are kept as they are; a session that moves costs a copy."""


@dataclass(frozen=True)
class Moment:
    """What a dream shows at one step."""

    frame: NDArray[np.uint8]
    """(H, W, C)."""
    features: NDArray[np.float32]
    """What an agent observes with `observation="memory"`."""
    uncertainty: float
    trust: float | None = None
    reward: float = 0.0
    expected: float = 0.0
    terminated: bool = False
    pose: tuple[float, ...] = ()
    """x, y and heading that the dream believes in, from where it began; () if it has none."""
    landmarks: tuple[tuple[float, ...], ...] = ()
    """Poses of the landmarks that it looks at, nearest first."""


class Dreamer:
    """The dream of one session: in a slot of a batch, or at rest as a state."""

    def __init__(self, state: DreamState, passes: int) -> None:
        self.state: DreamState | None = state
        self.passes = passes
        self.seating: _Seating | None = None


class _Seating:
    """An environment, and the dreamer in each of its slots; None for one that has left."""

    def __init__(self, env: DreamVectorEnv, dreamers: Sequence[Dreamer]) -> None:
        self.env = env
        self.dreamers: list[Dreamer | None] = list(dreamers)
        for dreamer in dreamers:
            dreamer.seating, dreamer.state = self, None

    def take_out(self, dreamer: Dreamer) -> DreamState:
        slot = self.dreamers.index(dreamer)
        state = self.env.get_state([slot])
        self.dreamers[slot] = None
        dreamer.seating, dreamer.state = None, state
        return state


class DreamPool:
    """All dreams of one checkpoint.

    Whatever sessions want stepped at the same time goes through the model in one batch. The work
    is done on the thread of `executor`, which must have no other.

    Args:
        checkpoint: folder, or `"bundled:NAME"`.
        executor: of one thread.
        arguments: `device`, `dtype`, and others of `DreamVectorEnv`.
    """

    def __init__(
        self, checkpoint: str | Path, executor: ThreadPoolExecutor, **arguments: Any
    ) -> None:
        self._checkpoint, self._executor, self._arguments = checkpoint, executor, arguments
        self._starter = self._env(1, None)
        loaded = self._starter.loaded
        self.env_id, self.fingerprint = loaded.env_id, loaded.fingerprint
        self.config = loaded.model.config
        self.action_space = self._starter.single_action_space
        self.observation_space = self._starter.single_observation_space
        self.spawns: Spawns = self._starter.spawns
        self.batches, self.steps = 0, 0
        self._seatings: OrderedDict[int, _Seating] = OrderedDict()
        self._waiting: list[tuple[Dreamer, NDArray, asyncio.Future[Moment]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def begin(
        self, passes: int | None, seed: int, spawn: int | None, start: DreamState | None
    ) -> tuple[Dreamer, Moment, dict[str, Any] | None]:
        """A new dream: from a state, else from a spawn, else from one that the seed draws.

        Returns:
            The dreamer, what it sees, and the real rollout that it began in, if that is known.

        Raises:
            EnvironmentUsageError: there is no such spawn, or the state is of other weights.
        """

        def work() -> tuple[Dreamer, Moment, dict[str, Any] | None]:
            env = self._starter
            if start is not None:
                env.set_state(start.reseed(seed))
            else:
                env.reset(seed=seed, options={} if spawn is None else {"spawn": spawn})
            state = env.get_state()
            dreamer = Dreamer(state, passes or self.config.sampler.steps)
            source = state.sources[0] if int(state.elapsed[0]) == 0 else None
            return dreamer, self.moment(state, dreamer.passes), source

        return await self._work(work)

    async def step(self, dreamer: Dreamer, action: NDArray) -> Moment:
        """One step of a dream, together with all others that are asked for at the moment."""
        future: asyncio.Future[Moment] = asyncio.get_running_loop().create_future()
        self._waiting.append((dreamer, action, future))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def state(self, dreamer: Dreamer) -> DreamState:
        """The present state of a dream."""
        return await self._work(lambda: _state_of(dreamer))

    async def set_state(self, dreamer: Dreamer, state: DreamState) -> None:
        """Let a dream go on from another state."""

        def work() -> None:
            _leave(dreamer)
            dreamer.state = state

        await self._work(work)

    async def end(self, dreamer: Dreamer) -> None:
        """Give up a dream, so that its slot can be forgotten."""
        await self._work(lambda: _leave(dreamer))

    def moment(self, state: DreamState, passes: int) -> Moment:
        """What a dream shows in a state of one slot; nothing is paid there."""
        calibration = self._starter.loaded.trust(passes)
        trust = float(calibration.of(state.uncertainty)[0]) if calibration.calibrated else None
        features = state.features[0].cpu().numpy()
        belief = belief_of(self._starter.loaded.model, state.memory)
        uncertainty = float(state.uncertainty[0])
        return Moment(state.frames[0], features, uncertainty, trust, **_told(belief, 0))

    async def _work(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever else is due in this round of the loop comes along
            passes = self._waiting[0][0].passes
            batch = [one for one in self._waiting if one[0].passes == passes]
            self._waiting = [one for one in self._waiting if one[0].passes != passes]
            await self._serve(batch)

    async def _serve(self, batch: list[tuple[Dreamer, NDArray, asyncio.Future[Moment]]]) -> None:
        batch.sort(key=lambda one: id(one[0]))  # whoever asks first, a batch stays as it is
        dreamers = [one[0] for one in batch]
        actions = np.stack([one[1] for one in batch])
        try:
            moments = await self._work(lambda: self._step(dreamers, actions))
        except Exception as error:
            if len(batch) > 1:  # one of them may be to blame, the others are not
                for one in batch:
                    await self._serve([one])
            elif not batch[0][2].done():
                batch[0][2].set_exception(error)
            return
        for (_, _, future), moment in zip(batch, moments, strict=True):
            if not future.done():  # its session may have ended meanwhile
                future.set_result(moment)

    def _step(self, dreamers: list[Dreamer], actions: NDArray) -> list[Moment]:
        env = self._seat(dreamers).env
        observations, rewards, terminated, _, info = env.step(actions)
        assert isinstance(observations, dict)
        expected, trust, belief = env.expected_rewards(), info.get("trust"), env.belief()
        self.batches, self.steps = self.batches + 1, self.steps + len(dreamers)
        return [
            Moment(
                observations["frame"][i],
                observations["memory"][i],
                float(info["uncertainty"][i]),
                None if trust is None else float(trust[i]),
                float(rewards[i]),
                float(expected[i]),
                bool(terminated[i]),
                **_told(belief, i),
            )
            for i in range(len(dreamers))
        ]

    def _seat(self, dreamers: list[Dreamer]) -> _Seating:
        """The batch of exactly these dreamers."""
        seating = dreamers[0].seating
        if seating is None or seating.dreamers != dreamers:
            states = [_state_of(dreamer) for dreamer in dreamers]
            env = self._env(len(dreamers), dreamers[0].passes)
            env.set_state(DreamState.join(states))
            for dreamer in dreamers:
                _leave(dreamer)
            seating = _Seating(env, dreamers)
            self._seatings[id(seating)] = seating
            self._forget_seatings(seating)
        self._seatings.move_to_end(id(seating))
        return seating

    def _forget_seatings(self, newest: _Seating) -> None:
        for key, seating in list(self._seatings.items()):
            seated = [dreamer for dreamer in seating.dreamers if dreamer is not None]
            if seating is not newest and (not seated or len(self._seatings) > SEATINGS):
                for dreamer in seated:
                    seating.take_out(dreamer)
                del self._seatings[key]

    def _env(self, slots: int, passes: int | None) -> DreamVectorEnv:
        return DreamVectorEnv(
            slots,
            self._checkpoint,
            horizon=ENDLESS,
            denoising_steps=passes,
            autoreset_mode=AutoresetMode.DISABLED,
            observation="memory",
            **self._arguments,
        )


def _told(belief: Belief | None, slot: int) -> dict[str, Any]:
    """What a moment tells of a belief."""
    if belief is None:
        return {}
    landmarks = belief.landmarks[slot][belief.held[slot]]
    return {"pose": tuple(belief.pose[slot].tolist()),
            "landmarks": tuple(map(tuple, landmarks.tolist()))}  # fmt: skip


def _state_of(dreamer: Dreamer) -> DreamState:
    if dreamer.seating is not None:
        return dreamer.seating.env.get_state([dreamer.seating.dreamers.index(dreamer)])
    assert dreamer.state is not None
    return dreamer.state


def _leave(dreamer: Dreamer) -> None:
    if dreamer.seating is not None:
        dreamer.seating.dreamers[dreamer.seating.dreamers.index(dreamer)] = None
        dreamer.seating = None
