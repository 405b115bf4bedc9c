"""An environment in another Python: its pipe, its faults, its end. A stand-in plays old Gym."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentProcessError,
    InvalidActionError,
    MissingDependencyError,
    ResetNeededError,
)
from dreamenv.real.other_python import child
from dreamenv.real.other_python.env import OtherPythonEnv
from dreamenv.real.other_python.process import EnvironmentProcess

STAND_IN = str(Path(__file__).with_name("stand_in"))
NOOP = {"attack": 0, "forward": 0, "jump": 0, "place": 1, "camera": np.zeros(2, np.float32)}


def made(game: str = "minerl:MineRLNavigate-v0", **given: Any) -> OtherPythonEnv:
    """The stand-in's environment; what is no argument of ours is one of its."""
    own = {name: given.pop(name) for name in ("step_seconds", "grace", "spare") if name in given}
    return OtherPythonEnv(game, path=[STAND_IN], arguments=given, **own)


@pytest.fixture(scope="module")
def world() -> Iterator[OtherPythonEnv]:
    env = made()
    yield env
    env.close()


def gone(pid: int) -> bool:
    """Whether a process ends within a minute; one that nobody waited for has ended, too."""
    for _ in range(1200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_spaces_become_gymnasiums(world: OtherPythonEnv) -> None:
    assert world.observation_space == spaces.Dict({
        "pov": spaces.Box(0, 255, (16, 16, 3), np.uint8),
        "compass": spaces.Dict({"angle": spaces.Box(-180, 180, (), np.float32)}),
        "equipped": spaces.Discrete(3),
    })  # fmt: skip
    key = spaces.Discrete(2)
    assert world.action_space == spaces.Dict({
        "attack": key, "forward": key, "jump": key, "place": key,
        "camera": spaces.Box(-180, 180, (2,), np.float32),
    })  # fmt: skip
    assert world.names == {"place": ["dirt", "none"]} and world.left_out == ["said"]


def test_values_cross_as_they_are(world: OtherPythonEnv) -> None:
    observation, _ = world.reset(seed=1)
    assert world.observation_space.contains(observation)
    pov = observation["pov"]
    assert pov.flags["C_CONTIGUOUS"] and pov.flags["WRITEABLE"] and pov.dtype == np.uint8
    camera = np.array([0.1, -20.0], np.float32)
    action = NOOP | {"place": 0, "camera": camera, "jump": 1}
    observation, reward, terminated, truncated, info = world.step(action)
    assert (reward, terminated, truncated) == (1.0, False, False)
    assert observation["pov"][0, 0, 0] == 1 and observation["compass"]["angle"] == 0.5
    assert info["taken"] == f"dirt {camera.tolist()} 010"
    assert info["at"].tolist() == [0.0, 1.0] and "odd" not in info


def test_a_seed_decides_the_episode_and_those_after_it(world: OtherPythonEnv) -> None:
    def three() -> list[np.ndarray]:
        frames = [world.reset(seed=5)[0]["pov"]]
        return [*frames, *(world.reset()[0]["pov"] for _ in range(2))]

    first, again = three(), three()
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[1], first[2])
    assert not np.array_equal(world.reset(seed=6)[0]["pov"], first[0])


def test_time_is_told_from_an_end(world: OtherPythonEnv) -> None:
    world.reset(seed=0)
    ends = [world.step(NOOP)[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]
    with pytest.raises(ResetNeededError):
        world.step(NOOP)
    env = made(length=4)  # ends by itself in the step in which its time is up
    env.reset(seed=0)
    assert [env.step(NOOP)[2:4] for _ in range(4)][-1] == (True, False)
    env.close()


def test_an_end_at_the_limit_of_which_nothing_is_said_is_one_by_time() -> None:
    env = made("minerl:Unsaid-v0")
    env.reset(seed=0)
    assert [env.step(NOOP)[2:4] for _ in range(4)][-1] == (False, True)
    env.close()


def test_actions_outside_are_refused_and_cost_nothing(world: OtherPythonEnv) -> None:
    world.reset(seed=0)
    with pytest.raises(InvalidActionError):
        world.step(NOOP | {"jump": 2})
    assert world.step(NOOP)[1] == 1.0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise", "MineRLNavigate-v0 failed to step: EOFError: the world is gone"),
        ("exit", "MineRLNavigate-v0 failed to step: SystemExit"),
        ("shape", r"the observation 'pov' is uint8 of shape \(8, 16, 3\), but its space says"),
        ("floats", "the observation 'pov' is float64"),
        ("huge", "is too large; at most 4194304 of plain values"),
        ("die", "ended by itself with status 7 while it was to step; its last words: out of"),
    ],
)
def test_a_fault_is_said_in_one_line_and_reset_goes_on(fault: str, said: str) -> None:
    env = made(fault=fault)
    env.reset(seed=0)
    env.step(NOOP)
    with pytest.raises(EnvironmentProcessError, match=said) as caught:
        env.step(NOOP)
    assert "\n" not in str(caught.value)
    with pytest.raises(ResetNeededError):
        env.step(NOOP)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    env.close()


def test_what_it_prints_stops_nothing() -> None:
    env = made(fault="talk", at=1)
    env.reset(seed=0)
    assert env.step(NOOP)[1] == 1.0 and env.step(NOOP)[1] == 2.0
    assert env.process is not None and env.process.said().strip().endswith("blah")
    env.close()


def test_nothing_is_left_of_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    env = made(fault="hang", at=1, step_seconds=1.0, grace=0.2)
    env.reset(seed=0)
    process = env.process
    assert process is not None and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(EnvironmentProcessError, match="did not answer within 1 seconds to step"):
        env.step(NOOP)
    helper = int(process.said().split()[-1])
    assert gone(process.pid) and gone(helper)
    env.close()
    env.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_one_that_was_interrupted_or_killed() -> None:
    env = made(fault="hang", grace=0.2)
    env.reset(seed=0)
    env.step(NOOP)
    main = threading.main_thread().ident
    assert main is not None and env.process is not None
    timer = threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        env.step(NOOP)
    timer.join()
    first = env.process.pid
    env.reset(seed=0)  # begins anew
    second = env.process.pid
    assert second != first and gone(first)
    os.kill(second, signal.SIGKILL)
    with pytest.raises(EnvironmentProcessError, match="not there any more|ended by signal 9"):
        env.step(NOOP)
    env.close()


def test_it_ends_with_its_parent_even_amid_a_step(tmp_path: Path) -> None:
    """A parent that is killed leaves a pipe that ends."""
    folder = tmp_path / "own"
    folder.mkdir()
    command = [sys.executable, child.__file__, str(folder), "0.2", STAND_IN]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    arguments = {"fault": "hang", "at": 0}
    make = {"n": 1, "do": "make", "game": "minerl:MineRLNavigate-v0", "path": [STAND_IN]}
    process.stdin.write(child.pack(make | {"arguments": arguments}))
    process.stdin.write(child.pack({"n": 2, "do": "reset", "seed": 0}))
    process.stdin.flush()
    helper = int(process.stderr.readline())
    process.stdin.close()
    assert process.wait(120) != 0 and gone(helper) and not folder.exists()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (r"printf 'dpy1\377\377\377\377\0\0\0\0'", "more than is allowed"),
        (r"""printf 'dpy1\0\0\0\050\0\0\0\0{"n":1,"":{"__array__":["int8",[9999]]}}'""", "not the"),
        (r"printf 'dpy1\0\0\0\003\0\0\0\0[1]'", "another form"),
        (r"""printf 'dpy1\0\0\0\007\0\0\0\0{"n":2}'""", "answered another request"),
        ("echo Hello from a tool", "wrote b'Hello from a tool.n' instead of an answer to make; is"),
        ("exit 3", "ended by itself with status 3 .*is it a Python"),
    ],
)  # fmt: skip
def test_one_that_speaks_otherwise_is_refused(tmp_path: Path, words: str, said: str) -> None:
    liar = tmp_path / "python"
    liar.write_text(f"#!/bin/sh\n{words}\nexec sleep 60\n")
    liar.chmod(0o755)
    process = EnvironmentProcess(str(liar), "Liar-v0", grace=0.1)
    with pytest.raises(EnvironmentProcessError, match=said):
        process.ask("make", 30.0)
    process.end()
    assert gone(process.pid)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no Python at '/no/such/python'"):
        OtherPythonEnv("minerl:MineRLNavigate-v0", "/no/such/python")
    with pytest.raises(ConfigError, match="'MineRLNavigat-v0' is registered; did you mean MineRLN"):
        made("minerl:MineRLNavigat-v0")
    with pytest.raises(MissingDependencyError, match="No module named 'far_worlds'; install it"):
        made("far_worlds:Far-v0")
    with pytest.raises(ConfigError, match="the actions 'chat' of .* are no numbers"):
        made(chat=True)
    with pytest.raises(ConfigError, match="name the environment"):
        gymnasium.make("OtherPython-v0")


def test_the_child_is_one_file_of_an_old_pythons_grammar_and_needs_nothing_of_ours() -> None:
    tree = ast.parse(Path(child.__file__).read_text("utf-8"), feature_version=(3, 7))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import)
                     else [str(node.module)])
    }  # fmt: skip
    assert imported <= set(sys.stdlib_module_names)


def test_environments_of_the_new_api_are_served_too() -> None:
    env = gymnasium.make("OtherPython-v0", game="gymnasium:CartPole-v1")
    here = gymnasium.make("CartPole-v1")
    assert np.array_equal(env.reset(seed=4)[0], here.reset(seed=4)[0])
    for action in (0, 1, 1):
        ours, theirs = env.step(action), here.step(action)
        assert np.array_equal(ours[0], theirs[0]) and ours[1:4] == theirs[1:4]
    env.close()
