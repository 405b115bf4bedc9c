"""Whatever kills a writer, and whenever, the committed episodes are there and the store goes on."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counting_episodes import DISCRETE, OBSERVATIONS, assert_same_episode, counting_episode
from endless_writer import episode_number

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts import arrays, journal, writer
from dreamenv.rollouts.store import RolloutStore, RolloutWriter

SCRIPT = str(Path(__file__).with_name("endless_writer.py"))
KILLS = 5


def writer_at(path):
    return RolloutWriter(path, "Counting-v0", OBSERVATIONS, DISCRETE)


def assert_holds(path, episodes):
    store = RolloutStore(path)
    assert store.num_episodes == len(episodes)
    for index, episode in enumerate(episodes):
        assert_same_episode(store.read(index), episode)


def test_sigkill_at_random_moments(tmp_path, child_environment):
    rng = random.Random(0)
    announced = -1
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, str(tmp_path / "store")],
            env=child_environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        # However slow the machine, some are killed only after a few episodes.
        heard = "".join(process.stdout.readline() for _ in range(rng.randrange(4)))
        time.sleep(rng.uniform(0.0, 0.25))
        process.kill()
        rest = heard + process.stdout.read()
        process.wait()
        whole_lines = rest[: rest.rfind("\n") + 1].split()
        announced = max([announced, *map(int, whole_lines)])
        store = RolloutStore(tmp_path / "store")
        # One more may be committed than was announced: killed between commit and print.
        assert announced + 1 <= store.num_episodes <= announced + 2
        for index in range(store.num_episodes):
            assert_same_episode(store.read(index), episode_number(index))
    assert announced > 0


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the writer's own clean-up may be needed."""


@pytest.mark.parametrize("field", range(5))
@pytest.mark.parametrize("before", [True, False])
def test_death_between_any_two_fields(tmp_path, monkeypatch, field, before):
    episodes = [counting_episode(n, seed=n) for n in (50, 1030, 7)]
    dying = writer_at(tmp_path)
    dying.append(episodes[0])
    calls = 0
    write_rows = arrays.write_rows

    def fatal(folder, array, start, rows):
        nonlocal calls
        calls += 1
        if calls == field + 1 and before:
            raise Killed
        written = write_rows(folder, array, start, rows)
        if calls == field + 1:
            raise Killed
        return written

    monkeypatch.setattr(writer, "write_rows", fatal)
    with pytest.raises(Killed):
        dying.append(episodes[1])
    dying.close()
    monkeypatch.undo()
    assert_holds(tmp_path, episodes[:1])
    with writer_at(tmp_path) as after:
        # A shorter episode takes the place of the lost one; none of its rows may shine through.
        after.append(episodes[2])
        after.append(episodes[1])
    assert_holds(tmp_path, [episodes[0], episodes[2], episodes[1]])


@pytest.mark.parametrize("leftover", [0, 1000])
def test_leftovers_of_a_killed_writer_are_removed(tmp_path, leftover):
    with writer_at(tmp_path) as first:
        first.append(counting_episode(5))
    committed = set(tmp_path.rglob("*"))
    shard = tmp_path / "observation" / "c" / "1" / "0" / "0"
    shard.mkdir(parents=True)
    (shard / "0").write_bytes(b"half a shard")
    (shard / "0.0123.partial").write_bytes(b"half")
    (tmp_path / "reward" / "c" / "1").write_bytes(b"half")
    (tmp_path / "reward" / "zarr.0123.partial").write_bytes(b"{")
    with open(tmp_path / "episodes.jsonl", "ab") as file:
        file.write(b'{"start": 1024, "ste' + b" " * leftover)
    assert_holds(tmp_path, [counting_episode(5)])
    with writer_at(tmp_path) as second:
        assert set(tmp_path.rglob("*")) == committed
        second.append(counting_episode(8))
    assert_holds(tmp_path, [counting_episode(5), counting_episode(8)])


def test_death_while_the_store_is_made(tmp_path, monkeypatch):
    calls = 0
    create_array = arrays.create_array

    def fatal(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return create_array(*args)

    monkeypatch.setattr(writer, "create_array", fatal)
    with pytest.raises(Killed):
        writer_at(tmp_path)
    monkeypatch.undo()
    (tmp_path / ".episodes.jsonl.x1y2").write_text("{")
    with pytest.raises(RolloutError, match="no rollout store"):
        RolloutStore(tmp_path)
    with writer_at(tmp_path) as again:
        again.append(counting_episode(5))
    assert_holds(tmp_path, [counting_episode(5)])


@pytest.mark.parametrize("limit", [1_500, 6_000])
def test_files_that_may_not_grow(tmp_path, limit):
    """A real refusal by the kernel, at a file size the frames, the journal or both reach."""
    episodes = [counting_episode(300, seed=i) for i in range(60)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    stored = 0
    with writer_at(tmp_path) as full:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(RolloutError, match="already in .* are safe. Free some disk space"):
                for episode in episodes:
                    full.append(episode)
                    stored += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert_holds(tmp_path, episodes[:stored])
        full.append(episodes[stored])
    assert_holds(tmp_path, episodes[: stored + 1])


@pytest.mark.parametrize("culprit", [(arrays.os, "fsync"), (journal.os, "fsync")])
def test_a_full_disk(tmp_path, monkeypatch, culprit):
    with writer_at(tmp_path) as full:
        full.append(counting_episode(5))

        def no_space(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(*culprit, no_space)
        with pytest.raises(RolloutError, match="episode 1 .*No space left.*1 episodes"):
            full.append(counting_episode(6))
        monkeypatch.undo()
        assert_holds(tmp_path, [counting_episode(5)])
        full.append(counting_episode(7))
    assert_holds(tmp_path, [counting_episode(5), counting_episode(7)])


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RolloutError, match="cannot write to"):
        writer_at(tmp_path / "file" / "store")
