"""A seed that fails is skipped, counted and named, and changes nothing for the others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from counting_episodes import DISCRETE, OBSERVATIONS, assert_same_episode, counting_episode
from failing_env import FAIL_AT, DimEnv, FailingEnv, ScalingEnv

from dreamenv.__main__ import main
from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.collect import collect
from dreamenv.rollouts.failure import RESET, EpisodeError
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.recording import record_episode
from dreamenv.rollouts.seeds import episode_seed
from dreamenv.rollouts.store import RolloutStore, RolloutWriter

ENV = "failing_env:Failing-v0"
FAILING = (0, 3, 4)


def seeds_of(indices: tuple[int, ...]) -> list[int]:
    return [episode_seed(0, index) for index in indices]


def gather(path: Path, frames: int, workers: int = 1, timeout: float = 600, **env: object) -> bool:
    """Episodes of 6 frames of the failing environment."""
    return collect(
        ENV, frames, ("sticky", "uniform"), workers, path, 0, {"seeds": seeds_of(FAILING), **env},
        record_info=["count"], progress=False, step_timeout=timeout,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five episodes by one worker: of the first eight seeds three fail."""
    path = tmp_path_factory.mktemp("failing") / "store"
    assert gather(path, 30)
    return path


def test_failing_seeds_are_skipped_counted_and_named(collected: Path) -> None:
    store = RolloutStore(collected)
    assert store.seeds == seeds_of((1, 2, 5, 6, 7))
    assert [failure.index for failure in store.skipped] == list(FAILING)
    for failure in store.skipped:
        assert failure.seed == episode_seed(0, failure.index)
        assert failure.step == FAIL_AT and failure.action in range(5)
        assert failure.policy in ("sticky", "uniform")
        assert failure.reason == "ValueError: boom in <object object at 0x…>"
        # Neither dreamenv's line nor Gymnasium's, and no folder of this machine.
        assert re.match(r"failing_env\.py:\d+ in explode: raise ValueError\(f", failure.where)


def test_the_same_bytes_with_any_number_of_workers_and_in_parts(
    collected: Path, tmp_path: Path
) -> None:
    assert gather(tmp_path / "parts", 13)
    assert gather(tmp_path / "parts", 30, workers=2)
    assert files(tmp_path / "parts") == files(collected)


def test_inspect_tells_them(collected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(collected)]) == 0
    told = capsys.readouterr().out
    assert "3 seeds failed and were skipped" in told
    assert f"episode 0 (seed {episode_seed(0, 0)}), step 2, action" in told
    assert "and 2 more like it" in told and "(failing_env.py:" in told
    assert (
        'infos        ["count"]' in told and f'arguments    {{"seeds": [{seeds_of((0,))[0]}' in told
    )


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crash", r"died \(SIGSEGV\)"),
        ("vanish", r"died \(exit code 7\)"),
        ("vanish_while_it_reports", r"died \(exit code 7\)"),
        ("sleep", "hung for 3 s"),
    ],
)
def test_a_process_that_dies_or_hangs_is_a_failing_seed(
    tmp_path: Path, how: str, reason: str
) -> None:
    assert gather(tmp_path, 12, timeout=3, how=how, seeds=seeds_of((1,)))
    store = RolloutStore(tmp_path)
    (failure,) = store.skipped
    assert store.seeds == seeds_of((0, 2))
    assert (failure.index, failure.step, failure.died) == (1, FAIL_AT, True)
    assert failure.action in range(5)
    assert re.search(f"the collection worker {reason}.*, 2 times", failure.reason)
    if not how.startswith("vanish"):  # which leaves no time to say where
        assert re.match(rf"failing_env\.py:\d+ in {how}: ", failure.where)


def test_one_process_that_dies_making_the_environment_is_replaced(tmp_path: Path) -> None:
    """Two that do so, with none between that did not, say that it cannot be made."""
    deaths = tmp_path / "deaths"
    deaths.write_text("1", "utf-8")
    assert gather(tmp_path / "s", 12, deaths=str(deaths))
    assert RolloutStore(tmp_path / "s").seeds == seeds_of((1, 2))
    deaths.write_text("2", "utf-8")
    with pytest.raises(RolloutError, match="died .* while it made the environment"):
        gather(tmp_path / "s", 24, deaths=str(deaths))


def test_where_all_seeds_fail_it_stops_and_goes_on_when_that_is_mended(
    collected: Path, tmp_path: Path
) -> None:
    switch = tmp_path / "broken"
    env = {"while_exists": str(switch), "seeds": None}
    assert gather(tmp_path / "s", 7, **env)
    switch.touch()
    message = (
        r"10 seeds in a row failed, the first of them episode 2 \(seed \d+\), step 2, action \d: "
        r"ValueError: boom.*failing_env\.py:\d+ in explode.*12 frames in 2 episodes are stored.*"
        "run the same command again"
    )
    with pytest.raises(RolloutError, match=message):
        gather(tmp_path / "s", 30, workers=2, **env)
    switch.unlink()
    assert gather(tmp_path / "s", 30, **env)
    assert RolloutStore(tmp_path / "s").seeds == seeds_of((0, 1, 2, 3, 4))


def test_where_most_seeds_fail_it_stops(tmp_path: Path) -> None:
    fails = tuple(i for i in range(40) if i % 3)
    with pytest.raises(RolloutError, match=r"13 of 20 seeds failed, the last of them episode 19"):
        gather(tmp_path, 60, seeds=seeds_of(fails))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("explode", r"ValueError: boom.*\(failing_env\.py:\d+ in explode: raise"),
        ("explode_within_numpy", r"ValueError: .*\(failing_env\.py:\d+ in explode_within_numpy: "),
        ("leave", r"SystemExit: 3 \(failing_env\.py:\d+ in leave"),
        ("float_frame", r"the frame is float64 of shape \(8, 8, 3\)"),
        ("small_frame", r"the frame is uint8 of shape \(7, 8, 3\).*space says uint8 of shape \(8,"),
        ("nan_reward", "the reward is nan"),
        ("vector_reward", "the reward is no number but array"),
        ("text_reward", "the reward is no number but '1.0'"),
        ("huge_reward", "the reward 16777217 is too large to be exact"),
        ("no_flag", "terminated is neither true nor false but None"),
        ("no_info", "there is no info 'count' to record; it has none"),
        ("text_info", "info 'count' is not numeric but str"),
        ("long_info", r"info 'count' has shape \(2,\), but had \(\) before"),
        ("ragged_info", "info 'count' is no array"),
        ("old_api", "ValueError: not enough values to unpack"),
    ],
)
@pytest.mark.parametrize("at", ["step", "reset"])
def test_what_cannot_be_recorded_is_named(how: str, reason: str, at: str) -> None:
    env, policy = FailingEnv(how=how, at=at), make_policy("uniform")
    if at == "reset" and ("reward" in how or "flag" in how or how in ("long_info", "old_api")):
        return  # a reset has none of these
    with pytest.raises(EpisodeError, match=reason) as caught:
        record_episode(env, policy, 5, 5, record_info=("count",))
    assert caught.value.step == (FAIL_AT if at == "step" else RESET)
    assert (caught.value.action in range(5)) == (at == "step")


def test_frames_outside_their_space_are_named() -> None:
    assert len(record_episode(DimEnv(10), make_policy("uniform"), 0, 0)) == 10
    with pytest.raises(EpisodeError, match="step 10.*the frame has values 101 to 101, outside"):
        record_episode(DimEnv(20), make_policy("uniform"), 0, 0)


def test_an_environment_that_scales_its_action_in_place_does_not_change_what_is_stored() -> None:
    stored = record_episode(ScalingEnv(), make_policy("sticky:0.5"), 3, 4).action
    rng_policy, env = make_policy("sticky:0.5"), ScalingEnv()
    rng_policy.reset(env, 4)
    frame = np.zeros((8, 8, 3), np.uint8)
    assert np.array_equal(stored, [rng_policy.act(frame) for _ in range(len(stored))])


def test_infos_that_would_be_rounded_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    first, second, third = (counting_episode(steps, seed=steps) for steps in (5, 1030, 7))
    first.info = {"x": np.arange(6)}
    second.info = {"x": np.arange(1031) + 0.5}
    third.info = {"x": np.arange(8) + 0.0}  # floats, but all of them whole
    with RolloutWriter(tmp_path, "Counting-v0", OBSERVATIONS, DISCRETE) as writer:
        writer.append(first)
        with pytest.raises(EpisodeError, match="info/x is float64, but was int64 in the first"):
            writer.append(second)
        writer.append(third)
    store = RolloutStore(tmp_path)
    assert store.num_episodes == 2
    assert_same_episode(store.read(1), third)


def test_episodes_whose_infos_do_not_fit_those_before_are_failing_seeds(tmp_path: Path) -> None:
    assert gather(tmp_path, 12, how="half_info", seeds=seeds_of((1,)))
    (failure,) = RolloutStore(tmp_path).skipped
    assert (failure.index, failure.seed, failure.step) == (1, episode_seed(0, 1), None)
    assert "info/count is float64, but was int64" in failure.reason
