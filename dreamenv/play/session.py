"""`Session`: one person's play. It answers the messages of a page and steps its worlds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import DreamEnvError
from dreamenv.play import saving
from dreamenv.play.controls import Control
from dreamenv.play.messages import BadMessageError, Message, pack
from dreamenv.play.player import Player
from dreamenv.play.stage import Stage
from dreamenv.play.timeline import Row, Timeline
from dreamenv.play.worlds import Beginning, Worlds
from dreamenv.rollouts.actions import fit_actions

Out = dict[str, Any] | bytes
"""What is sent to a page: a dictionary as JSON text, bytes as they are."""


class Session:
    """One person's play: worlds, the timeline of what was seen, and who acts.

    Nothing here may be called while another call of the same session is going on.

    Args:
        stage: what it shares with others.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.fps, self.paused, self.horizon = stage.config.fps, False, stage.config.horizon
        self.worlds = Worlds(stage)
        self.player = Player(stage)
        self.timelines: list[Timeline] = []
        self.current = 0
        self.step = 0
        """What is looked at; the worlds may stand elsewhere until they are needed."""
        self.over = ""
        self._at: tuple[int, int] | None = None
        """Timeline and step where the worlds stand."""
        self._held: Any = None
        self._heard = 0
        self._begun: Beginning | None = None
        self._forks = 1

    @property
    def timeline(self) -> Timeline:
        """The one that is looked at."""
        return self.timelines[self.current]

    async def welcome(self, token: str) -> list[Out]:
        """What a page is told when it comes, or comes back; the first time an episode begins."""
        if not self.timelines:
            await self._begin({})
        config = self.stage.config
        about = {
            "type": "welcome",
            "session": token,
            "checkpoints": list(self.stage.checkpoints),
            "agents": self.stage.agent_names(),
            "starts": self.stage.starts(),
            "fps": self.fps,
            "out": str(config.out),
        }
        return [about, self._about(), self._frame()]

    async def handle(self, message: Message) -> list[Out]:
        """Do what a page asks for; what cannot be done is answered with a notice.

        Raises:
            BadMessageError: the message does not fit this session.
        """
        try:
            return await getattr(self, f"_on_{message.kind}")(**message.values)
        except BadMessageError:
            raise
        except (DreamEnvError, OSError) as error:
            return [{"type": "notice", "text": str(error), "bad": True}]

    async def tick(self) -> list[Out]:
        """One step, if the session is going on."""
        if self.paused or self.over:
            return []
        try:
            return await self._advance(self._held)
        except (DreamEnvError, OSError) as error:
            self.paused = True
            return [{"type": "notice", "text": str(error), "bad": True}, self._frame()]

    async def close(self) -> None:
        """Give everything back."""
        await self.worlds.close()

    async def _on_hello(self, resume: str | None) -> list[Out]:
        raise BadMessageError("hello was said already")

    async def _on_act(self, action: Any, n: int) -> list[Out]:
        self._held, self._heard = self._checked(action), n
        return []

    async def _on_pause(self, on: bool) -> list[Out]:
        self.paused = on
        return [self._frame()]

    async def _on_step(self, action: Any, n: int) -> list[Out]:
        self.paused, self._heard = True, n
        return await self._advance(self._checked(action))

    async def _on_go(self, step: int) -> list[Out]:
        self.paused, self.step, self.over = True, min(step, self.timeline.last), ""
        return [self._frame()]

    async def _on_fork(self) -> list[Out]:
        self._forks += 1
        fork = self.timeline.fork(self.step, str(self._forks))
        await self._stand_here()
        if self.worlds.dreams:
            state = await self.worlds.fork(self._seed() + self._forks - 1)
            fork.keep_state(self.step, state, pin=True)
        if len(self.timelines) >= self.stage.limits.branches:
            oldest = next(i for i in range(len(self.timelines)) if i != self.current)
            del self.timelines[oldest]
        self.timelines.append(fork)
        self.current = len(self.timelines) - 1
        self._at = (id(fork), self.step)
        self.over = ""
        return [self._branches(), self._frame()]

    async def _on_branch(self, index: int) -> list[Out]:
        if index >= len(self.timelines):
            raise BadMessageError(f"there is no branch {index}")
        self.current, self.paused, self.over = index, True, ""
        self.step = self.timeline.last
        return [self._branches(), self._frame()]

    async def _on_begin(self, **wish: Any) -> list[Out]:
        await self._begin(wish)
        return [self._about(), self._frame()]

    async def _on_real(self, on: bool) -> list[Out]:
        if not on and not self.worlds.dreams:
            return [{"type": "notice", "text": "there is no dream to play instead", "bad": True}]
        if on and self.worlds.real is None:
            assert self._begun is not None
            await self._stand_here()
            actions = self.timeline.actions[: self.step]
            for step, one in enumerate(await self.worlds.open_real(self._begun, actions)):
                self.timeline.see_real(step, one)
        elif not on:
            await self.worlds.close_real()
        return [self._about(), self._frame()]

    async def _on_agent(self, name: str | None) -> list[Out]:
        await self.player.choose(name, self.worlds.action_space, self._seed())
        self._held = None
        return [self._frame()]

    async def _on_speed(self, fps: float) -> list[Out]:
        self.fps = fps
        return []

    async def _on_save(self, what: str) -> list[Out]:
        if what in ("gif", "mp4"):
            rows, fps = self.timeline.rows[: self.step + 1], self.fps
            data = await self.stage.think(lambda: saving.film_of(rows, what, fps))
            return [pack({"type": "file", "name": f"{self.worlds.name}.{what}"}, [data])]
        await self._stand_here()
        if what == "start":
            where = str(await saving.save_start(self.stage, self.worlds, self.step))
        else:
            where = await saving.save_rollout(self.stage, self.worlds, self.timeline, self._seed())
        told: list[Out] = [{"type": "notice", "text": f"stored in {where}"}]
        return [*told, {"type": "starts", "starts": self.stage.starts()}]

    async def _begin(self, wish: dict[str, Any]) -> None:
        horizon = wish.get("horizon")
        begun, row, state = await self.worlds.begin(wish, self._begun)
        self._begun = begun
        self.horizon = horizon or self.horizon
        timeline = Timeline(self.stage.limits.state_bytes, [row])
        if state is not None:
            timeline.keep_state(0, state)
        self.timelines, self.current, self._forks = [timeline], 0, 1
        self.step, self.over, self.paused, self._held = 0, "", False, None
        self._at = (id(timeline), 0)
        self.player.begin()

    async def _advance(self, held: Any) -> list[Out]:
        if self.step >= self.horizon:
            self.over = "horizon"
        if self.over:
            return [self._frame()]
        await self._stand_here()
        row = self.timeline.rows[self.step]
        action = held if held is not None else self.worlds.idle
        if self.player.agent is not None:
            action = await self.player.act(self.worlds.observation())
        self.timeline.cut_after(self.step)
        self._at = None  # until all worlds have made this step
        dream, real, ended = await self.worlds.step(action, row)
        self.timeline.rows.append(Row(action, self.player.name, dream, real))
        self.step += 1
        self._at = (id(self.timeline), self.step)
        if self.worlds.dreams and self.timeline.wants_state(self.step):
            self.timeline.keep_state(self.step, await self.worlds.state())
        self.over = ended or ("horizon" if self.step >= self.horizon else "")
        said: list[Out] = [
            {"type": "notice", "text": text, "bad": True} for text in self.worlds.take_notices()
        ]
        return [self._frame(), *said]

    async def _stand_here(self) -> None:
        """Bring the worlds to the step that is looked at."""
        here = (id(self.timeline), self.step)
        if self._at != here:
            self._at = None
            await self.worlds.go(self.timeline, self.step)
            self.player.begin()
            self._at = here

    def _checked(self, action: Any) -> Any:
        """An action of a page, in its plain form; None for none."""
        if action is None:
            return None
        space = self.worlds.action_space
        shape, dtype = row_type(space)
        row = np.asarray(action)
        if row.size == math.prod(shape):
            row = row.reshape(shape)
        if dtype.kind in "iu" and (row == np.round(row)).all():
            row = row.astype(np.int64)  # a page writes 1 for 1.0, or the other way round
        fitting = fit_actions(space, row)
        if fitting is None:
            raise BadMessageError(f"{action!r:.60} is no action of {space}")
        return fitting.ravel().tolist() if shape else fitting.item()

    def _seed(self) -> int:
        return 0 if self._begun is None else self._begun.seed

    def _about(self) -> dict[str, Any]:
        """What the page is told of an episode that has begun."""
        begun = self._begun
        assert begun is not None
        return {
            "type": "begun",
            "horizon": self.horizon,
            "controls": [_plain(control) for control in self.worlds.controls],
            "idle": self.worlds.idle,
            **begun.to_plain(),
            **self.worlds.about(),
            **self._branches_told(),
        }

    def _branches_told(self) -> dict[str, Any]:
        return {
            "branches": [{"name": x.name, "last": x.last} for x in self.timelines],
            "branch": self.current,
            "history": [
                {name: seen.told for name, seen in (("dream", x.dream), ("real", x.real)) if seen}
                for x in self.timeline.rows
            ],
        }

    def _branches(self) -> Out:
        return {"type": "branches", **self._branches_told()}

    def _frame(self) -> bytes:
        """The picture of the present step, with all that is told beside it."""
        row, parts = self.timeline.rows[self.step], []
        header: dict[str, Any] = {
            "type": "frame",
            "step": self.step,
            "last": self.timeline.last,
            "action": row.action,
            "who": row.who,
            "n": self._heard,
            "paused": self.paused,
            "over": self.over,
            "agent": self.player.name if self.player.agent is not None else None,
            "worlds": [],
        }
        for name, seen in (("dream", row.dream), ("real", row.real)):
            if seen is not None:
                header["worlds"].append(name)
                header[name] = seen.told
                parts.append(seen.picture)
        return pack(header, parts)


def _plain(control: Control) -> dict[str, Any]:
    return {"keys": control.keys, "action": control.action, "label": control.label}
