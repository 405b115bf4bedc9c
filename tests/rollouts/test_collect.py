"""Collection: the counting environment from worker to window; interruptions; bad arguments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from counting_env import reward_of, step_of
from counting_episodes import assert_counts, assert_same_episode

from dreamenv.cli.collect import parse_mixture
from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.seeds import draw_policy, episode_seed
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows

ENV = "counting_env:Counting-v0"


def gather(path, frames, workers=1, seed=0, policy=("sticky", "uniform"), **more):
    return collect(ENV, frames, policy, workers, path, seed, progress=False, **more)


def episodes_of(path):
    store = RolloutStore(path)
    return [store.read(index) for index in range(store.num_episodes)]


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """600 frames by two workers, with recorded infos."""
    path = tmp_path_factory.mktemp("rollouts") / "store"
    assert gather(path, 600, workers=2, record_info=["count"])
    return path


def test_counting_from_worker_to_window(collected):
    store = RolloutStore(collected)
    assert 600 <= store.num_steps < 640  # whole episodes; the last one began before frame 600
    for index, episode in enumerate(episodes_of(collected)):
        steps = len(episode)
        assert_counts(episode.observation, 0)
        assert episode.seed == episode_seed(0, index)
        assert (episode.observation[:, 2:] == episode.seed % 256).all()
        assert episode.reward.tolist() == [reward_of(t) for t in range(steps)]
        assert episode.terminated.tolist() == [False] * (steps - 1) + [True]
        assert not episode.truncated.any()
        assert episode.info["count"].tolist() == list(range(steps + 1))
    windows = Windows(store, 4)
    begins = 0
    for number in range(0, windows.num_windows, 5):  # one in five: to read them takes seconds
        index, start = windows.locate(number)
        window, episode = windows.read(index, start), store.read(index)
        for row in range(4):
            frame = start + row
            assert step_of(window.frames[row]) == frame
            assert window.is_first[row] == (row == 0)
            assert window.action[row] == (-1 if row == 0 else episode.action[frame - 1])
            assert window.reward[row] == (0 if frame == 0 else reward_of(frame - 1))
            begins += frame == 0
            assert window.terminated[row] == (frame == len(episode))
    assert begins > 2


def test_stopping_and_going_on_changes_nothing(collected, tmp_path):
    for frames in (100, 101, 350, 600):
        assert gather(tmp_path / "parts", frames, record_info=["count"])
    parts, whole = episodes_of(tmp_path / "parts"), episodes_of(collected)
    assert len(parts) == len(whole)
    for a, b in zip(parts, whole, strict=True):
        assert_same_episode(a, b)
    assert len({episode.seed for episode in whole}) == len(whole)
    assert {episode.policy for episode in whole} == {"sticky", "uniform"}


def test_enough_frames_already(collected):
    before = RolloutStore(collected).num_steps
    assert gather(collected, 300, record_info=["count"])
    assert RolloutStore(collected).num_steps == before


def test_other_settings_are_refused(collected):
    with pytest.raises(RolloutError, match="collected with seed = 0, not 1"):
        gather(collected, 700, seed=1, record_info=["count"])
    with pytest.raises(RolloutError, match="collected with policies"):
        gather(collected, 700, policy="uniform", record_info=["count"])
    with pytest.raises(RolloutError, match="collected with env_kwargs = {}, not {'continuous'"):
        gather(collected, 700, env_kwargs={"continuous": True}, record_info=["count"])


def test_arguments_of_the_environment_are_compared_as_the_store_keeps_them(tmp_path):
    gather(tmp_path, 20, env_kwargs={"length": None, "fatal_file": None})
    assert gather(tmp_path, 1, env_kwargs={"fatal_file": None, "length": None})
    settings = CollectSettings(ENV, {"sticky": 1}, 0, {"size": (3, 4)})
    assert settings.to_plain()["env_kwargs"] == {"size": [3, 4]}


def test_cut_episodes_are_truncated(tmp_path):
    gather(tmp_path / "s", 90, max_episode_steps=20, env_kwargs={"length": 20})
    gather(tmp_path / "t", 90, max_episode_steps=20, env_kwargs={"length": 50, "channels": 1})
    both, cut = episodes_of(tmp_path / "s"), episodes_of(tmp_path / "t")
    assert len(both) == len(cut) == 5
    for episode in cut:
        assert len(episode) == 20 and episode.truncated[-1] and not episode.terminated.any()
    for episode in both:  # the environment's own ending is kept
        assert episode.truncated[-1] and episode.terminated[-1]


def test_continuous_actions(tmp_path):
    gather(tmp_path, 60, env_kwargs={"continuous": True})
    for episode in episodes_of(tmp_path):
        assert episode.action.shape == (len(episode), 3) and episode.action.dtype == np.float32
        assert episode.action.min() >= -1 and episode.action.max() <= 2


def test_the_mixture_is_drawn_by_weight():
    names = [draw_policy({"a": 3.0, "b": 1.0, "c": 0.0}, seed)[0] for seed in range(2000)]
    assert abs(names.count("a") / 2000 - 0.75) < 0.04 and names.count("c") == 0
    assert len({episode_seed(5, index) for index in range(5000)}) == 5000
    assert episode_seed(5, 0) != episode_seed(6, 0)


def test_a_killed_worker_is_reported_and_the_rest_resumes(collected, tmp_path):
    fatal = tmp_path / "fatal"
    more = {"record_info": ["count"], "env_kwargs": {"fatal_file": str(fatal)}}
    gather(tmp_path / "s", 200, workers=2, **more)
    stored = RolloutStore(tmp_path / "s")
    fatal.touch()
    with pytest.raises(
        RolloutError,
        match=r"3 seeds in a row failed, the first of them episode \d+ \(seed \d+\), step 0, "
        rf"action \d: the collection worker died \(SIGKILL.*{stored.num_steps} frames in "
        rf"{stored.num_episodes} episodes are stored.*run the same command again",
    ):
        gather(tmp_path / "s", 600, workers=2, **more)
    fatal.unlink()
    gather(tmp_path / "s", 600, workers=2, **more)
    resumed = episodes_of(tmp_path / "s")
    for a, b in zip(resumed, episodes_of(collected), strict=True):
        assert_same_episode(a, b)


def test_a_nan_reward_is_reported(tmp_path):
    message = r"episode 0 \(seed \d+\), step 2, action \d: the reward is nan"
    with pytest.raises(RolloutError, match=message):
        gather(tmp_path, 50, env_kwargs={"nan_at": 2})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "MemoryMaze-9x9-v7"}, "MemoryMaze"),
        ({"env_id": "Nothing-v0"}, "Nothing.*doesn't exist.*module:id"),
        ({"env_id": "no_module_here:X-v0"}, "no_module_here"),
        ({"env_id": "counting_env:FloatFrame-v0"}, "outside the 0 to 1 that the observation space"),
        ({"env_id": "CartPole-v1"}, "need an image observation.*AddRenderObservation"),
        ({"env_id": "counting_env:Codes-v0"}, "grid of codes, not a picture.*; 0 frames in 0 epis"),
        ({"env_kwargs": {"wrong": 1}}, "Counting-v0: TypeError.*wrong"),
        ({"policy": "goal"}, "ground truth"),
        ({"policy": "stiky"}, "did you mean 'sticky'"),
        ({"policy": {"sticky": 0.0}}, "weights"),
        ({"policy": {"sticky": float("nan")}}, "weights"),
        ({"policy": {}}, "weights"),
        ({"record_info": ["depth"]}, "no info 'depth' to record; it has count"),
        ({"max_episode_steps": 0}, "at least 1 step"),
        ({"frames": 0}, "at least 1"),
        ({"workers": 0}, "at least 1"),
        ({"seed": -1}, "must not be negative"),
        ({"seed": 2**31}, "must not be negative nor 2\\*\\*31 or more"),
        ({"seed": 1.5}, "the seed must be a whole number, not 1.5"),
        ({"frames": 20.5}, "frames must be a whole number, not 20.5"),
        ({"policy": {"sticky": 1.0, "uniform": 0.0}}, "'uniform' has weight 0 and would never act"),
        ({"policy": ["sticky", "sticky"]}, "given twice"),
        ({"record_info": ["count", "count"]}, "'count' is to be recorded twice"),
        ({"record_info": ["../count"]}, "cannot be recorded: its name is no file name"),
        ({"env_kwargs": {"length": {3}}}, "must be plain data, which a store can keep"),
        ({"max_episode_steps": 20, "env_kwargs": {"max_episode_steps": 10}}, "no effect: .* 10 "),
        (
            {"env_id": "failing_env:Limited-v0", "max_episode_steps": 11},
            "11 would have no effect: .*Limited-v0 itself ends episodes after 10 steps",
        ),
        ({"step_timeout": 0.0}, "timeout must be more than 0"),
    ],
    ids=str,
)
def test_bad_arguments(tmp_path, arguments, message):
    good = {"env_id": ENV, "frames": 20, "policy": "sticky", "workers": 1, "out": tmp_path / "s"}
    with pytest.raises(DreamEnvError, match=message):
        collect(**{**good, **arguments}, progress=False)
    # Nothing but an empty store may be left.
    assert not (tmp_path / "s").exists() or RolloutStore(tmp_path / "s").num_episodes == 0


def test_mixture_syntax():
    assert parse_mixture(["goal:0.3=0.6", "sticky=0.4", "uniform"]) == {
        "goal:0.3": 0.6,
        "sticky": 0.4,
        "uniform": 1.0,
    }
    with pytest.raises(RolloutError, match="'x' is no weight"):
        parse_mixture(["goal=x"])
    with pytest.raises(RolloutError, match="given twice"):
        parse_mixture(["goal=1", "goal=2"])


def command(path, frames, workers="2"):
    return [
        *(sys.executable, "-m", "dreamenv", "collect", "--env", ENV, "--frames", str(frames)),
        *("--policy", "sticky=1", "uniform=1", "--workers", workers, "--out", str(path)),
        *("--record-info", "count", "--seed", "0"),
    ]


def wait_for_episodes(path, count, process):
    while process.poll() is None:
        try:
            if RolloutStore(path).num_episodes >= count:
                return
        except RolloutError:
            pass  # not created yet
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGKILL, 0)],
)
def test_signals_keep_what_is_committed(
    collected, tmp_path, child_environment, number, whole_group
):
    path = tmp_path / "s"
    process = subprocess.Popen(
        command(path, 10**7),
        env=child_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_episodes(path, 4, process)
    # A terminal sends Ctrl-C to the workers, too.
    (os.killpg if whole_group else os.kill)(process.pid, number)
    output, errors = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert "Traceback" not in errors
        assert process.returncode == 130
        assert "interrupted; run the same command again" in output
    stored, reference = episodes_of(path), episodes_of(collected)
    assert len(stored) >= 4
    for a, b in zip(stored, reference, strict=False):
        assert_same_episode(a, b)
    # The lock and the workers are gone: the same command goes on.
    frames = RolloutStore(path).num_steps + 1
    subprocess.run(command(path, frames), env=child_environment, check=True, capture_output=True)
    assert RolloutStore(path).num_episodes == len(stored) + 1


def test_the_command_reports_reward_events(tmp_path, child_environment):
    done = subprocess.run(
        command(tmp_path, 300, "1"), env=child_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "events/1000" in done.stdout and "sticky" in done.stdout
    assert "frames/s" not in done.stderr  # a bar is for terminals
    inspected = subprocess.run(
        [sys.executable, "-m", "dreamenv", "inspect", str(tmp_path / "no")],
        env=child_environment,
        capture_output=True,
        text=True,
    )
    assert inspected.returncode == 2 and "error: no rollout store" in inspected.stderr


def test_collecting_outside_the_main_thread(tmp_path):
    """Signals can only be handled in the main thread; elsewhere collection still works."""
    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=gather, args=(tmp_path, 50))
    thread.start()
    thread.join()
    assert RolloutStore(tmp_path).num_steps >= 50
    assert signal.getsignal(signal.SIGINT) is handler
