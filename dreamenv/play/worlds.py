"""`Worlds`: a session's dream and the real environment beside it, under the same actions."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, Space
from numpy.typing import NDArray

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import DreamEnvError, EnvironmentUsageError
from dreamenv.dream.state import DreamState
from dreamenv.play.controls import Control, controls, idle_action
from dreamenv.play.dreams import Dreamer, DreamPool, Moment
from dreamenv.play.messages import plain
from dreamenv.play.pictures import encode
from dreamenv.play.real import RealWorld, RealWorldError
from dreamenv.play.real_process import RealMoment
from dreamenv.play.stage import Stage
from dreamenv.play.timeline import Row, Seen, Timeline

LAYOUT = "maze_layout"


@dataclass(frozen=True)
class Beginning:
    """How an episode began."""

    seed: int
    checkpoint: str = ""
    passes: int = 0
    spawn: int = -1
    start: str = ""
    """Name of the state that it began from; the spawn is then −1."""
    source: Mapping[str, Any] | None = None
    """The real rollout that a dream began in, if that is known."""

    def to_plain(self) -> dict[str, Any]:
        """What a page is told of it."""
        told = {"seed": self.seed, "checkpoint": self.checkpoint, "passes": self.passes}
        return {**told, "spawn": self.spawn, "start": self.start}


class Worlds:
    """The worlds of one session.

    Args:
        stage: where checkpoints and real environments come from.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.pool: DreamPool | None = None
        self.real: RealWorld | None = None
        self.action_space: Space = Discrete(1)
        self.controls: list[Control] = []
        self.idle: Any = 0
        self._dreamer: Dreamer | None = None
        self._moment: Moment | None = None
        self._real_moment: RealMoment | None = None
        self._layout: Any = None
        self._notices: list[str] = []

    @property
    def dreams(self) -> bool:
        """Whether there is a dream, and not only a real environment."""
        return self.pool is not None

    @property
    def env_id(self) -> str:
        """Id of the real environment."""
        return self.stage.config.env or ("" if self.pool is None else self.pool.env_id)

    @property
    def name(self) -> str:
        """A name for files."""
        return "dream" if self.dreams else self.env_id.rpartition(":")[2].replace("/", "-")

    def about(self) -> dict[str, Any]:
        """What a page is told of these worlds."""
        pool = self.pool
        return {
            "env": self.env_id,
            "dreams": self.dreams,
            "spawns": 0 if pool is None else len(pool.spawns),
            "real": self.real is not None,
            "layout": self._layout,
        }

    async def begin(
        self, wish: Mapping[str, Any], before: Beginning | None
    ) -> tuple[Beginning, Row, DreamState | None]:
        """Begin an episode; after an error all is as before.

        Args:
            wish: fields of the message `begin`; what is None stays as it was, a seed is drawn.
            before: how the last episode began.
        """
        given, seed = wish.get("seed"), wish.get("seed")
        seed = secrets.randbelow(2**31) if given is None else int(given)
        if not self.stage.checkpoints:
            return await self._begin_real_alone(seed)
        name = wish.get("checkpoint") or (before.checkpoint if before else "")
        name = name or next(iter(self.stage.checkpoints))
        same = before is not None and before.checkpoint == name
        passes = wish.get("passes") or (before.passes if before and same else None)
        start = None if wish.get("start") is None else await self.stage.load_start(wish["start"])
        pool = await self.stage.pool(name)
        passes = passes or self.stage.config.passes
        dreamer, moment, source = await pool.begin(passes, seed, wish.get("spawn"), start)
        await self._end_dream()
        if self.real is not None and (self.pool is not pool or source is None):
            await self.close_real()
            self._notices.append("the real environment does not know this start")
        self.pool, self._dreamer, self._moment = pool, dreamer, moment
        self._learn_controls(pool.action_space, {})
        assert dreamer.state is not None
        saved = wish.get("start") or ""
        spawn = -1 if saved else int(dreamer.state.spawns[0])
        begun = Beginning(seed, name, dreamer.passes, spawn, saved, source)
        seen = None
        if self.real is not None:
            (seen,) = await self._begin_real(begun, [])
        return begun, Row(None, "", _seen_dream(moment, None), seen), dreamer.state

    async def open_real(self, begun: Beginning, actions: list[Any]) -> list[Seen]:
        """Put the real environment beside the dream, at the same start after the same actions.

        Raises:
            DreamEnvError: it cannot be brought there, or may not be made.
        """
        if begun.source is None:
            raise EnvironmentUsageError(
                "the real environment cannot be brought to this start: it was saved in a dream, "
                "and no seed and actions of a real episode lead there; begin at a spawn"
            )
        self.real = await self.stage.open_real(self.env_id, beside=True)
        if self.real.about["action_space"] != self.action_space:
            await self.close_real()
            raise EnvironmentUsageError(
                f"{self.env_id} has other actions than the dream: give --env the environment that "
                "the world model learned"
            )
        return await self._begin_real(begun, actions)

    async def step(self, action: Any, row: Row) -> tuple[Seen | None, Seen | None, str]:
        """One step of both worlds.

        Args:
            action: in its plain form.
            row: of the step before.

        Returns:
            What each shows, and why the episode is over, or "".
        """
        given, real = self._fitting(action), self._real_goes_on()
        stepped = await asyncio.gather(
            self._step_dream(given), self._step_real(action, real), return_exceptions=True
        )
        failed = [each for each in stepped if isinstance(each, BaseException)]
        if failed:
            raise failed[0]
        ended = ""
        dream = None
        if self._moment is not None:
            dream = _seen_dream(self._moment, row.dream)
            ended = "terminated" if self._moment.terminated else ""
        seen = None
        if real and self._real_moment is not None:
            seen = self._seen_real(self._real_moment, row.real)
            if not self.dreams and self._real_moment.terminated:
                ended = "terminated"
            elif not self.dreams and self._real_moment.truncated:
                ended = "truncated"
        elif self.real is not None:
            seen = row.real  # its episode is over, and the dream goes on
        return dream, seen, ended

    async def go(self, timeline: Timeline, step: int) -> None:
        """Be where a timeline was at a step."""
        actions = timeline.actions[:step]
        if self.pool is not None and self._dreamer is not None:
            kept, state = timeline.state_before(step)
            await self.pool.set_state(self._dreamer, state)
            self._moment = self.pool.moment(state, self._dreamer.passes)
            for action in actions[kept:]:
                await self._step_dream(self._fitting(action))
        if self.real is not None:
            taken, repeatable = await self.real.go(actions)
            if not repeatable:
                self._notices.append(
                    f"{self.env_id} shows another picture than before: the same seed and actions "
                    "do not lead to the same place in it"
                )
            if self._real_moment is not None and taken == len(actions):
                self._real_moment = await self.real.present()

    async def fork(self, seed: int) -> DreamState:
        """Let the dream go on from here with other chances; returns its state."""
        assert self.pool is not None and self._dreamer is not None
        state = (await self.pool.state(self._dreamer)).reseed(seed)
        await self.pool.set_state(self._dreamer, state)
        return state

    async def state(self) -> DreamState:
        """The present state of the dream.

        Raises:
            EnvironmentUsageError: there is none.
        """
        if self.pool is None or self._dreamer is None:
            raise EnvironmentUsageError("only a dream has a state that can be stored")
        return await self.pool.state(self._dreamer)

    def observation(self) -> dict[str, Any]:
        """What an agent sees now."""
        if self._moment is not None:
            return {"frame": self._moment.frame, "memory": self._moment.features}
        assert self._real_moment is not None
        other = self._real_moment.observation
        return {"frame": self._real_moment.picture if other is None else other}

    def take_notices(self) -> list[str]:
        """What a page is to be told besides, once."""
        notices, self._notices = self._notices, []
        return notices

    async def close_real(self) -> None:
        """Give the real environment up."""
        real, self.real, self._real_moment, self._layout = self.real, None, None, None
        if real is not None:
            await self.stage.give_back(real)

    async def close(self) -> None:
        """Give everything back."""
        await self._end_dream()
        await self.close_real()

    async def _end_dream(self) -> None:
        if self.pool is not None and self._dreamer is not None:
            await self.pool.end(self._dreamer)
            self._dreamer = None

    async def _begin_real_alone(self, seed: int) -> tuple[Beginning, Row, None]:
        if self.real is None:
            self.real = await self.stage.open_real(self.env_id, beside=False)
            about = self.real.about
            self._learn_controls(about["action_space"], about["keys"])
        begun = Beginning(seed)
        (seen,) = await self._begin_real(begun, [])
        return begun, Row(real=seen), None

    async def _begin_real(self, begun: Beginning, actions: list[Any]) -> list[Seen]:
        assert self.real is not None
        try:
            moments = await self.real.begin(begun.seed, begun.source, actions)
        except DreamEnvError:
            await self.close_real()
            raise
        self._layout = moments[0].truth.get(LAYOUT)
        seen: list[Seen] = []
        for moment in moments:
            self._real_moment = moment
            seen.append(self._seen_real(moment, seen[-1] if seen else None, alone=True))
        return seen

    async def _step_dream(self, action: NDArray) -> None:
        if self.pool is not None and self._dreamer is not None:
            self._moment = await self.pool.step(self._dreamer, action)

    async def _step_real(self, action: Any, goes_on: bool) -> None:
        if not goes_on:
            return
        assert self.real is not None
        try:
            self._real_moment = await self.real.step(action)
        except RealWorldError as error:
            await self.close_real()
            if not self.dreams:
                raise
            self._notices.append(str(error))

    def _real_goes_on(self) -> bool:
        before = self._real_moment
        over = before is not None and (before.terminated or before.truncated)
        return self.real is not None and not over

    def _learn_controls(self, space: Space, keys: Mapping[Any, int]) -> None:
        self.controls = controls(space, self.env_id, keys)
        self.action_space, self.idle = space, idle_action(space, self.env_id)

    def _fitting(self, action: Any) -> NDArray:
        shape, dtype = row_type(self.action_space)
        return np.asarray(action, dtype).reshape(shape)

    def _seen_real(self, moment: RealMoment, before: Seen | None, alone: bool = False) -> Seen:
        told = {
            "reward": plain(moment.reward),
            "return": plain(moment.reward + (before.told["return"] if before else 0.0)),
            "over": moment.terminated or moment.truncated,
            "truth": {name: x for name, x in moment.truth.items() if name != LAYOUT},
        }
        dream = None if self._moment is None or alone else self._moment.frame
        if dream is not None and dream.shape == moment.picture.shape:
            told["apart"] = plain(np.abs(dream.astype(np.int16) - moment.picture).mean() / 255)
        return Seen(encode(moment.picture), told)


def _seen_dream(moment: Moment, before: Seen | None) -> Seen:
    told: dict[str, Any] = {
        "reward": plain(moment.reward),
        "expected": plain(moment.expected),
        "return": plain(moment.reward + (before.told["return"] if before else 0.0)),
        "trust": None if moment.trust is None else plain(moment.trust),
        "uncertainty": plain(moment.uncertainty),
        "over": moment.terminated,
    }
    if moment.pose:
        told["pose"] = [plain(value) for value in moment.pose]
        told["landmarks"] = [[plain(value) for value in each] for each in moment.landmarks]
    return Seen(encode(moment.frame, lossless=True), told)
