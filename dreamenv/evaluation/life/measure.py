"""All that says whether a dream is worth living in, for one checkpoint and several samplers."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from tqdm import trange

import dreamenv
from dreamenv.agents.loading import require_trust
from dreamenv.core.errors import RolloutError
from dreamenv.core.machine import machine
from dreamenv.core.statistics import CONFIDENCE
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.spawn_drawing import draw_spawns
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.life import features
from dreamenv.evaluation.life.clips import long_clips
from dreamenv.evaluation.life.config import LifeConfig
from dreamenv.evaluation.life.dreaming import BATCH
from dreamenv.evaluation.life.forgetting import lost_by_forgetting, open_loop_without
from dreamenv.evaluation.life.lives import Film, watch_lives
from dreamenv.evaluation.life.parts import Parts
from dreamenv.evaluation.life.pays import closed_loop, play_agents, rewards_seen
from dreamenv.evaluation.life.real import RealPlaces
from dreamenv.evaluation.life.revisits import CONTEXT, HORIZON, YOUNGEST, dream_revisits
from dreamenv.evaluation.life.turns import dream_turns, turns_of, turns_to_json
from dreamenv.evaluation.memory.revisit import revisit
from dreamenv.evaluation.metrics.held_out_data import describe_store, require_rollouts_of
from dreamenv.evaluation.metrics.rewards import read_teacher_forced
from dreamenv.real.plugin import family_of
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.preprocessing import fit_frames

PROTOCOL = 1
"""Rises when the same configuration means something else, so that no old part is taken for new."""
STEPS_TOLD = (1, 4, 8, 16, 32, 64, 256)
"""Imagined steps whose PSNR is told by itself."""


@dataclass(frozen=True)
class LifeReport:
    """Everything measured."""

    result: dict[str, Any]
    """Plain data, as it stands in the JSON."""
    films: dict[str, Film] = field(default_factory=dict, repr=False)
    """Denoising passes → frames of the first clips."""


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
        UntrustedAgentError: an agent is a saved one, and `trust_agent` was not given.
    """
    return _Measurement(config, kept).report()


class _Measurement:
    """What the parts of one measurement share."""

    def __init__(self, config: LifeConfig, kept: Path | None) -> None:
        self.config = config
        self.loaded = load_for_dreaming(config.checkpoint, config.device, config.dtype)
        self.model = self.loaded.model
        self.size = self.model.config.frame_size
        self.store = RolloutStore(config.rollouts)
        # The environment may be another one that tells more, so that poses could be recorded.
        require_rollouts_of(self.store, self.model.config, None)
        own = self.model.config.sampler.steps
        self.passes = sorted(set(config.denoising_steps or (own,)))
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
        self.parts = Parts(kept, self._identity())

    def report(self) -> LifeReport:
        """Everything."""
        get = self.parts.get
        seen = get("rewards", self._rewards_seen)
        real = self._real_places()
        revisits = get("revisits-" + "-".join(map(str, self.passes)), self._revisits)
        found = {}
        for each in self.passes:
            found[str(each)] = {
                **get(f"lives-{each}", partial(self._lives, each)),
                "turns": get(f"turns-{each}", partial(self._turns, each, real)),
                "revisits": revisits[str(each)],
                "open_loop_lost_db": get(f"forgetting-{each}", partial(self._forgetting, each)),
                "closed_loop": get(f"agents-{each}", partial(self._closed_loop, each, real)),
            }
            film = self.parts.film(f"film-{each}")
            if film is not None:
                self.films[str(each)] = film
        about = self._about()
        return LifeReport(
            {**about, "rewards_on_real_frames": seen, "by_denoising_passes": found}, self.films
        )

    def _identity(self) -> dict[str, Any]:
        """What decides the parts."""
        shared = dataclasses.asdict(self.config)
        for name in ("checkpoint", "rollouts", "denoising_steps", "device", "progress"):
            del shared[name]
        return shared | {
            "protocol": PROTOCOL,
            "weights": self.loaded.fingerprint,
            "compute_dtype": str(self.model.compute_dtype),
            "episodes_of_store": self.store.identities,
            "agents": list(self.agents),
        }

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

    def _real_places(self) -> list[dict[str, Any]]:
        """What the real environment shows and pays at each place; empty if nobody goes there."""
        config = self.config
        if not config.real:
            return []
        environment = RealPlaces(
            self.loaded.env_id, config.checkpoint, self.loaded.fingerprint, self.size,
            config.horizon, config.match_tolerance,
        )  # fmt: skip
        bar = trange(len(self.spawns), desc="real", unit="place", disable=not config.progress)
        with closing(environment):
            return [
                self.parts.get(
                    f"real-{place}",
                    partial(
                        environment.visit,
                        self.spawns,
                        place,
                        self.turns if place < config.places else [],
                        self.agents if place < config.episodes else [],
                        config.seed,
                    ),  # fmt: skip
                )
                for place in bar
            ]

    def _lives(self, passes: int) -> dict[str, Any]:
        config = self.config
        lives = watch_lives(self.model, self.clips, passes, config.seed, config.progress)
        self.films[str(passes)] = lives.film
        self.parts.keep_film(f"film-{passes}", lives.film)
        return {"by_steps": lives.to_json(), "psnr_db_at": lives.psnr_at(STEPS_TOLD)}

    def _turns(self, passes: int, real: list[dict[str, Any]]) -> list[dict[str, Any]]:
        config, count = self.config, self.config.places
        spawns = self.spawns
        first = Spawns(spawns.frames[:count], spawns.actions[:count], spawns.sources[:count])
        dreamt = dream_turns(self.model, first, self.turns, passes, config.seed, config.progress)
        there = {
            turn.steps: np.array([place["turns"][str(turn.steps)] for place in real[:count]])
            for turn in self.turns
            if real
        }
        return turns_to_json(dreamt, there, self.groups[:count], config.seed)

    def _revisits(self) -> dict[str, Any]:
        config = self.config
        names = [str(each) for each in self.passes]
        if not config.revisits:
            return dict.fromkeys(names)
        try:
            task = revisit(
                self.store, self.size, config.revisits, CONTEXT, HORIZON, YOUNGEST, config.seed
            )
        except RolloutError as error:  # no poses, short episodes, or nobody comes back
            return dict.fromkeys(names, {"missing": str(error)})
        found = dream_revisits(self.model, task, self.passes, config.seed, config.progress)
        return {
            str(each): {"watched": CONTEXT, "imagined": HORIZON, "by_age": scores.to_json()}
            for each, scores in found.items()
        }

    def _forgetting(self, passes: int) -> dict[str, Any]:
        psnr = open_loop_without(self.model, self.clips, passes, self.config.seed)
        return lost_by_forgetting(psnr, self.clips.episodes, self.config.seed)

    def _closed_loop(self, passes: int, real: list[dict[str, Any]]) -> list[dict[str, Any]]:
        config, count, spawns = self.config, self.config.episodes, self.spawns
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
            spawns=spawns,
        )
        paid = play_agents(
            dream, self.agents, count, config.horizon, config.seed,
            trust=config.trust_agent, progress=config.progress,
        )  # fmt: skip
        there = {agent: np.zeros((count, config.horizon)) for agent in self.agents if real}
        for agent, rewards in there.items():
            for place in range(count):
                for step, reward in real[place]["rewards"][agent]:
                    rewards[place, step] = reward
        return closed_loop(paid, there, self.groups[:count], config.seed)


def _agents(config: LifeConfig, env_id: str) -> tuple[str, ...]:
    if not config.episodes:
        return ()
    if config.agents is not None:
        return config.agents
    family = family_of(env_id)
    return ("random", *(family.agents if family else ()))
