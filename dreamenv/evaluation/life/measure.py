"""All that says whether a dream is worth living in, for one checkpoint and several samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

import dreamenv
from dreamenv.agents.finding import require_trust
from dreamenv.core.errors import RolloutError
from dreamenv.core.machine import machine
from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import CONFIDENCE
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.life import features
from dreamenv.evaluation.life.clips import long_clips
from dreamenv.evaluation.life.config import LifeConfig
from dreamenv.evaluation.life.cues import dream_returns
from dreamenv.evaluation.life.dreaming import BATCH
from dreamenv.evaluation.life.forgetting import lost_by_forgetting, open_loop_without
from dreamenv.evaluation.life.lives import Film, watch_lives
from dreamenv.evaluation.life.parts import Parts
from dreamenv.evaluation.life.pays import closed_loop, play_agents, rewards_seen
from dreamenv.evaluation.life.real import RealPlaces
from dreamenv.evaluation.life.report import LifeReport
from dreamenv.evaluation.life.revisits import CONTEXT, HORIZON, YOUNGEST, dream_revisits
from dreamenv.evaluation.life.turns import dream_turns, turns_of, turns_to_json
from dreamenv.evaluation.memory.revisit import revisit
from dreamenv.evaluation.metrics.held_out_data import describe_store
from dreamenv.evaluation.metrics.rewards import read_teacher_forced
from dreamenv.real.plugin import family_of
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.fitting_rollouts import require_rollouts_of
from dreamenv.world_model.preprocessing import fit_frames

PROTOCOL = 2
"""Rises when the same configuration means something else, so that no old part is taken for new."""
STEPS_TOLD = (1, 4, 8, 16, 32, 64, 256)
"""Imagined steps whose PSNR is told by itself."""


def measure_life(config: LifeConfig, kept: Path | None = None) -> LifeReport:
    """Measure all that `docs/life.md` explains.

    Args:
        config: what to measure.
        kept: folder for what was measured so far, from which a killed measurement goes on; None
            keeps nothing.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or there is no such agent.
        RolloutError: the rollouts are missing or of other actions, or their episodes too short.
        ConfigError: the real environment does not show what was recorded.
        UntrustedAgentError: an agent is a zip, and `trust_agent` was not given.
    """
    measurement = _Measurement(config, kept)
    try:
        return measurement.report()
    finally:
        measurement.close()


class _Measurement:
    """What the parts of one measurement share; each part is kept under what decides it."""

    def __init__(self, config: LifeConfig, kept: Path | None) -> None:
        self.config = config
        self.loaded = load_for_dreaming(config.checkpoint, config.device, config.dtype)
        self.model = self.loaded.model
        self.size = self.model.config.frame_size
        self.store = RolloutStore(config.rollouts)
        # The environment may be another one that tells more, so that poses could be recorded.
        require_rollouts_of(self.store, self.model.config, None)
        self.passes = sorted(set(config.denoising_steps or (self.model.config.sampler.steps,)))
        self.agents = _agents(config, self.store.env_id)
        require_trust(self.agents, config.trust_agent)
        self.clips = long_clips(
            self.store, config.clips, config.context, config.horizon, self.size, config.seed
        )
        self.spawns = draw_spawns(
            self.store, max(config.places, config.episodes), config.context, self.size,
            config.seed, latest_start=config.latest_start,
        )  # fmt: skip
        self.groups = np.array([source["seed"] for source in self.spawns.sources])
        self.turns = turns_of(self.store.env_id, config.turns)
        self.films: dict[str, Film] = {}
        identity = {
            "protocol": PROTOCOL,
            "weights": self.loaded.fingerprint,
            "compute_dtype": str(self.model.compute_dtype),
            "episodes_of_store": self.store.identities,
            "context": config.context,
            "seed": config.seed,
        }
        self.parts = Parts(kept, identity)
        self.clips_key = {"clips": self.clips.places, "horizon": self.clips.horizon}
        self._real: RealPlaces | None = None

    def close(self) -> None:
        """Free the real environment, if it was needed."""
        if self._real is not None:
            self._real.close()

    def report(self) -> LifeReport:
        """Everything; what takes long and says less comes last."""
        get, config = self.parts.get, self.config
        seen = get("rewards", {"clips": self.clips.places}, self._rewards_seen)
        found: dict[str, dict[str, Any]] = {str(each): {} for each in self.passes}
        for each in self.passes:
            found[str(each)] |= self._life_of(each)
        turned = self._real_turns()
        for each in self.passes:
            key = {"places": self._sources(config.places), "turns": config.turns, "real": turned}
            found[str(each)]["turns"] = get(
                f"turns-{each}", key, partial(self._turned, each, turned)
            )
        revisits = self._together("revisits", {"clips": config.revisits}, self._revisits)
        cues = self._together("cues", {"asked": config.cues}, self._cues)
        played = self._real_plays()
        for name, each in zip(found, self.passes, strict=True):
            key = {**self._plays_key(config.episodes), "real": played}
            found[name] |= {
                "revisits": revisits[name],
                "cues": cues[name],
                "closed_loop": get(f"agents-{name}", key, partial(self._played, each, played)),
            }
        about = {**self._about(), "rewards_on_real_frames": seen}
        return LifeReport({**about, "by_denoising_passes": found}, self.films)

    def _about(self) -> dict[str, Any]:
        config = self.config
        return {
            "dreamenv": dreamenv.__version__,
            "machine": machine(config.device),
            "checkpoint": {
                "weights_sha256": self.loaded.fingerprint,
                "env_id": self.loaded.env_id,
                "own_denoising_passes": self.model.config.sampler.steps,
                "compute_dtype": str(self.model.compute_dtype).removeprefix("torch."),
            },
            "data": describe_store(self.store),
            "protocol": {
                "clips": len(self.clips),
                "episodes": len(np.unique(self.clips.episodes)),
                "context": config.context,
                "horizon": self.clips.horizon,
                "places": config.places,
                "closed_loop_episodes": config.episodes,
                "closed_loop_steps": config.horizon,
                "latest_start": config.latest_start,
                "features": features.NAME,
                "seed": config.seed,
            },
            "interval": f"{CONFIDENCE:.0%} percentile bootstrap, by episode",
        }

    def _rewards_seen(self) -> dict[str, Any]:
        readings = []
        for episode in np.unique(self.clips.episodes):
            window = model_time(self.store.read(int(episode)), self.store.action_space)
            window = replace(window, frames=fit_frames(window.frames, self.size))
            readings.append(read_teacher_forced(self.model, window))
        return rewards_seen(readings, self.config.seed)

    def _life_of(self, passes: int) -> dict[str, Any]:
        """What a dream shows by the step, and what of it is memory."""
        get, key, config = self.parts.get, self.clips_key, self.config

        def lives() -> dict[str, Any]:
            seen = watch_lives(self.model, self.clips, passes, config.seed, config.progress)
            self.films[str(passes)] = seen.film
            self.parts.keep_film(f"film-{passes}", key, seen.film)
            return {"by_steps": seen.to_json(), "psnr_db_at": seen.psnr_at(STEPS_TOLD)}

        def lost() -> dict[str, Any]:
            psnr = open_loop_without(self.model, self.clips, passes, config.seed)
            return lost_by_forgetting(psnr, self.clips.episodes, config.seed)

        found = get(f"lives-{passes}", key, lives)
        film = self.parts.film(f"film-{passes}", key)
        if film is not None:
            self.films[str(passes)] = film
        return {**found, "open_loop_lost_db": get(f"forgetting-{passes}", key, lost)}

    def _sources(self, count: int) -> list[list[Any]]:
        """What decides the first places."""
        return [[source["seed"], source["actions"]] for source in self.spawns.sources[:count]]

    def _real_turns(self) -> list[dict[str, float]]:
        """Turn → dB at each place of the real environment; empty if nobody goes there."""
        config = self.config
        places = range(config.places if config.real and self.turns else 0)
        return [
            self.parts.get(
                f"real-turns-{place}",
                {"place": self._sources(place + 1)[-1], "turns": config.turns},
                partial(self._turn_there, place),
            )
            for place in progress_bar(places, "real: turns", "place", show=config.progress)
        ]

    def _turn_there(self, place: int) -> dict[str, float]:
        return self.real.turn(self.spawns, place, self.turns)

    def _turned(self, passes: int, real: list[dict[str, float]]) -> list[dict[str, Any]]:
        config, count, spawns = self.config, self.config.places, self.spawns
        first = Spawns(spawns.frames[:count], spawns.actions[:count], spawns.sources[:count])
        dreamt = dream_turns(self.model, first, self.turns, passes, config.seed, config.progress)
        there = {
            turn.steps: np.array([place[str(turn.steps)] for place in real])
            for turn in self.turns
            if real
        }
        return turns_to_json(dreamt, there, self.groups[:count], config.seed)

    def _together(
        self, name: str, key: dict[str, Any], make: Callable[[list[int]], dict[str, Any]]
    ) -> dict[str, Any]:
        """A part of each number of passes, of which those that are missing are made at once."""
        parts = self.parts
        missing = [each for each in self.passes if parts.kept(f"{name}-{each}", key) is None]
        made = make(missing) if missing else {}
        return {
            str(each): parts.get(f"{name}-{each}", key, partial(made.get, str(each)))
            for each in self.passes
        }

    def _revisits(self, passes: list[int]) -> dict[str, Any]:
        config, names = self.config, [str(each) for each in passes]
        if not config.revisits:
            return dict.fromkeys(names)
        try:
            task = revisit(
                self.store, self.size, config.revisits, CONTEXT, HORIZON, YOUNGEST, config.seed
            )
        except RolloutError as error:  # no poses, short episodes, or nobody comes back
            return dict.fromkeys(names, {"missing": str(error)})
        found = dream_revisits(self.model, task, passes, config.seed, config.progress)
        return {
            str(each): {"watched": CONTEXT, "imagined": HORIZON, "by_age": scores.to_json()}
            for each, scores in found.items()
        }

    def _cues(self, passes: list[int]) -> dict[str, Any]:
        config, names = self.config, [str(each) for each in passes]
        if not config.cues:
            return dict.fromkeys(names)
        try:
            found = dream_returns(self.model, self.store, passes, config.seed, config.progress)
        except RolloutError as error:  # nothing is known of targets
            return dict.fromkeys(names, {"missing": str(error)})
        return {str(each): {"by_age": scores.to_json()} for each, scores in found.items()}

    def _plays_key(self, count: int) -> dict[str, Any]:
        return {
            "places": self._sources(count),
            "agents": self.agents,
            "horizon": self.config.horizon,
        }

    def _real_plays(self) -> list[dict[str, list[list[float]]]]:
        """What agents were paid from each place of the real environment; empty as for turns."""
        config = self.config
        places = range(config.episodes if config.real and self.agents else 0)
        return [
            self.parts.get(
                f"real-agents-{place}",
                {**self._plays_key(0), "place": self._sources(place + 1)[-1]},
                partial(self._play_there, place),
            )
            for place in progress_bar(places, "real: agents", "place", show=config.progress)
        ]

    def _play_there(self, place: int) -> dict[str, list[list[float]]]:
        return self.real.play(self.spawns, place, self.agents, self.config.seed)

    def _played(
        self, passes: int, real: list[dict[str, list[list[float]]]]
    ) -> list[dict[str, Any]]:
        config, count = self.config, self.config.episodes
        if not self.agents:
            return []
        dream = DreamVectorEnv(
            min(count, BATCH),
            config.checkpoint,
            horizon=config.horizon,
            denoising_steps=passes,
            autoreset_mode=AutoresetMode.NEXT_STEP,
            device=config.device,
            dtype=config.dtype,
            spawns=self.spawns,
        )
        paid = play_agents(
            dream, self.agents, count, config.horizon, config.seed,
            trust=config.trust_agent, progress=config.progress,
        )  # fmt: skip
        there = {agent: np.zeros((count, config.horizon)) for agent in self.agents if real}
        for agent, rewards in there.items():
            for place, found in enumerate(real):
                for step, reward in found[agent]:
                    rewards[place, int(step)] = reward
        return closed_loop(paid, there, self.groups[:count], config.seed)

    @property
    def real(self) -> RealPlaces:
        """The real environment, made when it is first needed."""
        if self._real is None:
            config = self.config
            self._real = RealPlaces(
                self.loaded.env_id, config.checkpoint, self.loaded.fingerprint, self.size,
                config.horizon, config.match_tolerance, self.model.config.image_key,
                config.real_kwargs,
            )  # fmt: skip
        return self._real


def _agents(config: LifeConfig, env_id: str) -> tuple[str, ...]:
    if not config.episodes:
        return ()
    if config.agents is not None:
        return config.agents
    family = family_of(env_id)
    return ("random", *(family.agents if family else ()))
