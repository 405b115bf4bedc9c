"""The gap report on the ring: nothing where the dream is exact, and what is wrong where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamenv.core.errors import (
    ConfigError,
    DreamEnvError,
    EnvironmentUsageError,
)
from dreamenv.dream.spawns import Spawns
from dreamenv.evaluation.gap import paired_episodes
from dreamenv.evaluation.gap.measure import measure_gap
from dreamenv.evaluation.gap.starts import choose_spawns
from dreamenv.evaluation.gap.transfer import Contender
from dreamenv.real.replayed import SpawnedEnv
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.worker import record_episode
from dreamenv.rollouts.writer import RolloutWriter
from tests.evaluation.gap.ring_reports import HORIZON, LIE, MAIN, SPAWNS, config, gap
from tests.evaluation.ring_env import (
    PLACES,
    RingEnv,
    SavingRingEnv,
    dream_of_the_ring,
    place_of,
    reward_of,
)

POPULATION = tuple(f"walker:{a}{b}" for a in (0, 1, 2) for b in (0, 1, 2))


def certain(interval: dict[str, Any], value: float) -> bool:
    """Whether an interval holds one value only."""
    return [interval[key] for key in ("mean", "low", "high")] == pytest.approx([value] * 3)


def walk(spawn: np.ndarray, step: int, pays: set[int]) -> list[float]:
    """By hand: rewards of going on by `step` from the place that a spawn's last frame shows."""
    place, rewards = place_of(spawn[-1]), []
    for _ in range(HORIZON):
        place = (place + step) % PLACES
        rewards.append(float(place in pays))
    return rewards


def test_an_exact_dream_has_no_gap_of_any_kind(ring: pytest.MonkeyPatch, spawns: Spawns) -> None:
    report = gap(population=POPULATION).result
    assert report["spawns"]["reached"] == report["spawns"]["exactly"] == SPAWNS
    for agent in report["agents"]:
        assert agent["return"]["dream_episodes"] == agent["return"]["real_episodes"]
        assert certain(agent["return"]["dream_minus_real"], 0)
    by_hand = [sum(walk(frames, 1, {0})) for frames in spawns.frames]
    assert report["agents"][0]["return"]["real_episodes"] == by_hand and min(by_hand) > 0
    ranking = report["ranking"]
    assert ranking["agents"] == 9, "MAIN, given twice, is counted once"
    assert certain(ranking["pearson"], 1) and certain(ranking["spearman"], 1)
    assert certain(ranking["mmrv"], 0) and ranking["worst_pair"] is None
    case = report["exploitation"][MAIN]
    assert certain(case["share_unconfirmed"], 0) and certain(case["share_missed"], 0)
    loop = report["open_loop"][MAIN]
    assert np.allclose(loop["explained"]["mean"], 1, atol=1e-6)
    assert loop["explained_horizon"]["steps"] == 16 and loop["trust"] is None
    assert loop["trust_missing"] == "the ring was not calibrated"
    for row in loop["reward_sums"]:
        assert certain(row["expected"]["absolute_error"], 0)
    for side in ("seen", "dreamt"):
        assert loop["reward_events"][side]["precision"] == 1
        assert loop["reward_events"][side]["recall"] == 1
        assert loop["calibration"][side]["brier"]["mean"] == 0


def test_a_dream_that_pays_where_the_real_ring_does_not_is_found_out(
    ring: pytest.MonkeyPatch, spawns: Spawns
) -> None:
    dream_of_the_ring(ring, spawns, pays=(0, LIE))
    report = gap(population=("walker:00", "walker:22", "random"))
    lies = [sum(walk(frames, 1, {LIE})) for frames in spawns.frames]
    truths = [sum(walk(frames, 1, {0})) for frames in spawns.frames]
    first = report.result["agents"][0]["return"]
    assert first["dream_minus_real"]["mean"] == pytest.approx(np.mean(lies))
    assert first["dream_minus_real"]["low"] > 0
    case = report.result["exploitation"][MAIN]
    share = sum(lies) / (sum(lies) + sum(truths))
    assert case["share_unconfirmed"]["mean"] == pytest.approx(share)
    assert certain(case["share_missed"], 0)
    loop = report.result["open_loop"][MAIN]
    assert loop["reward_sums"][-1]["expected"]["bias"]["low"] > 0
    assert loop["reward_events"]["dreamt"]["precision"] < 0.9
    assert loop["explained_horizon"]["steps"] == 16, "its frames are right all the same"
    assert len(report.strips[MAIN]) == 4
    assert f"{share:.0%} of the dreamt reward unconfirmed" in report.summary()


def test_a_dream_blind_to_rewards_misses_them(ring: pytest.MonkeyPatch, spawns: Spawns) -> None:
    dream_of_the_ring(ring, spawns, pays=())
    report = gap()
    case = report.result["exploitation"][MAIN]
    assert case["share_unconfirmed"]["mean"] is None and certain(case["share_missed"], 1)
    assert report.strips[MAIN] == [] and report.result["ranking"] is None
    json.dumps(report.result, allow_nan=False)


def test_a_dream_that_pays_a_step_late_is_confirmed(
    ring: pytest.MonkeyPatch, spawns: Spawns
) -> None:
    dream_of_the_ring(ring, spawns, pays=(2,))
    late = gap().result["exploitation"][MAIN]
    # All but those at the rim: the dream's before the third step, reality's in the last two.
    assert late["share_unconfirmed"]["mean"] < 0.2
    assert gap(tolerance=1).result["exploitation"][MAIN]["share_unconfirmed"]["mean"] == 1


def test_unmatched_spawns_are_counted_and_refused(ring: pytest.MonkeyPatch, spawns: Spawns) -> None:
    broken = [dict(source) for source in spawns.sources]
    for i in (2, 4):  # one more step leads elsewhere
        broken[i]["actions"] = [*broken[i]["actions"], 1]
    dream_of_the_ring(ring, Spawns(spawns.frames, spawns.actions, broken))
    report = gap().result
    told = report["spawns"]
    assert (told["drawn"], told["reached"], told["exactly"]) == (SPAWNS, SPAWNS - 2, SPAWNS - 2)
    assert [entry["spawn"] for entry in told["refused"]] == [2, 4]
    assert all(entry["difference"] > 1 for entry in told["refused"])
    assert len(report["agents"][0]["return"]["dream_episodes"]) == SPAWNS - 2
    assert certain(report["agents"][0]["return"]["dream_minus_real"], 0)
    tolerant = gap(match_tolerance=255.0).result["spawns"]
    assert (tolerant["reached"], tolerant["exactly"]) == (SPAWNS, SPAWNS - 2)
    astray = [{**source, "actions": [*source["actions"], 1]} for source in spawns.sources]
    dream_of_the_ring(ring, Spawns(spawns.frames, spawns.actions, astray))
    with pytest.raises(ConfigError, match="another frame at all 6 spawns.*--match-tolerance"):
        gap()


def test_an_environment_that_goes_back_is_reset_once_a_spawn(ring: pytest.MonkeyPatch) -> None:
    SavingRingEnv.resets = 0
    saved = gap(population=POPULATION[:4]).result
    assert SavingRingEnv.resets == SPAWNS
    again = gap(population=POPULATION[:4], real="Ring-v0").result
    assert again["agents"] == saved["agents"] and again["exploitation"] == saved["exploitation"]


def test_agents_with_randomness_play_alike_again_and_otherwise_with_another_seed(
    ring: pytest.MonkeyPatch,
) -> None:
    report = gap(agents=("random",)).result
    assert gap(agents=("random",)).result == report
    earned = report["agents"][0]["return"]
    assert len(set(earned["real_episodes"])) > 1, "each spawn has its own randomness"
    other = gap(agents=("random",), seed=1).result["agents"][0]["return"]
    assert other["real_episodes"] != earned["real_episodes"]
    assert other["dream_episodes"] != earned["dream_episodes"]


def test_a_killed_report_goes_on_with_what_was_played(
    ring: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = config(population=("random", "walker:12"))
    whole = measure_gap(settings).result

    class Killed(Exception):
        pass

    visits: list[int] = []
    visit = paired_episodes.RealPlayer.visit

    def die_at_the_fourth(player: Any, task: Any) -> Any:
        if len(visits) == 3:
            raise Killed
        visits.append(task.index)
        return visit(player, task)

    ring.setattr(paired_episodes.RealPlayer, "visit", die_at_the_fourth)
    with pytest.raises(Killed):
        measure_gap(settings, tmp_path / "episodes")
    ring.setattr(
        paired_episodes.RealPlayer, "visit", lambda p, t: visits.append(t.index) or visit(p, t)
    )
    assert measure_gap(settings, tmp_path / "episodes").result == whole
    assert sorted(visits) == list(range(SPAWNS)), "each spawn was visited once"

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("all is known by now")

    ring.setattr(paired_episodes, "play_dream", refuse)
    ring.setattr(paired_episodes.RealPlayer, "visit", refuse)
    assert measure_gap(settings, tmp_path / "episodes").result == whole
    with pytest.raises(AssertionError, match="known by now"):
        measure_gap(config(population=("random", "walker:12"), seed=1), tmp_path / "episodes")
    torn = next((tmp_path / "episodes").glob("*.npz"))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(AssertionError, match="known by now"):
        measure_gap(settings, tmp_path / "episodes")


def test_transfer_compares_agents_in_the_same_full_episodes(ring: pytest.MonkeyPatch) -> None:
    contenders = (Contender("dream", "walker:11"), Contender("real", "walker:22"))
    report = gap(
        transfer=contenders,
        transfer_real=("Ring-v0", "ShortRing-v0"),
        real_episodes=5,
        real_horizon=18,
        exploitation=False,
        clips=0,
    ).result
    assert report["exploitation"] == {} and report["open_loop"] == {}
    long, short = report["transfer"]
    assert (long["real"], short["real"]) == ("Ring-v0", "ShortRing-v0")
    assert long["steps_per_episode"] == 18 and long["labels"] == short["labels"]
    assert list(long["labels"]) == ["dream", "real", "random"]
    dream, real, random = (np.array(agent["returns"]) for agent in long["agents"])
    assert len(dream) == 5 and set(dream) <= {1.0, 2.0}, "18 steps of one round a ring of 16"
    apart = {(d["of"], d["and"]): d["mean"] for d in long["differences"]}
    assert apart["dream", "real"] == pytest.approx(np.mean(dream - real))
    assert apart["dream", "random"] == pytest.approx(np.mean(dream - random))
    assert long["agents"][0]["training"] is None
    limit = gap(transfer=contenders, transfer_real=("ShortRing-v0",), clips=0, real_episodes=2)
    assert limit.result["transfer"][0]["steps_per_episode"] == 20
    with pytest.raises(ConfigError, match="no limit of its own: give --real-horizon"):
        gap(transfer=contenders)


def test_worker_processes_play_the_same_and_their_death_is_told(
    ring: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"agents": ("random",), "real": "Ring-v0", "clips": 0}
    assert gap(**settings, workers=2).result == gap(**settings).result
    with pytest.raises(DreamEnvError, match="process of the real environment died"):
        gap(**settings, workers=2, real_kwargs={"dies_at": 35})


def test_rewards_by_hand_are_those_of_the_ring() -> None:
    assert [reward_of(place, 1) for place in (0, 1)] == [1.0, 0.0]


def test_no_start_lies_where_an_episode_ended(ring_checkpoint: Path, tmp_path: Path) -> None:
    """Short episodes that terminate: starts are shorter, and the real one goes on from each."""
    real, policy = RingEnv(length=9), make_policy("uniform")
    with RolloutWriter(
        tmp_path / "s", "Ring-v0", real.observation_space, real.action_space
    ) as writer:
        for seed in range(3):
            writer.append(record_episode(real, policy, seed, seed, 100))
    spawns = choose_spawns(ring_checkpoint, 64, tmp_path / "s").spawns
    assert spawns.frames.shape[:2] == (64, 9)
    env = SpawnedEnv(RingEnv(length=9), spawns.sources)
    for source in spawns.sources:
        assert len(source["actions"]) == 8
        env.reset(options={"source": source})
        assert env.step(0)[2]
    ended = {**spawns.sources[0], "actions": [*spawns.sources[0]["actions"], 0]}
    with pytest.raises(EnvironmentUsageError, match="ends on the spawn's last frame, after 9 act"):
        env.reset(options={"source": ended})
