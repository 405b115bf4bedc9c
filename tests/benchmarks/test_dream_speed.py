"""The benchmark of the dream's speed runs whole at a small size, and its arithmetic holds."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ageing import compare
from benchmarks.frame_work import FrameWork, frame_work
from benchmarks.step_profile import split, timed_functions, timed_parts
from benchmarks.yardsticks import Yardsticks
from tests.world_model.models import tiny_config, tiny_model


def test_every_part_is_measured(dream_speed: dict[str, Any]) -> None:
    rows = dream_speed["by_slots"]
    assert [(r["dtype"], r["slots"], r["denoising_steps"]) for r in rows] == [
        (dtype, slots, k) for dtype in ("float32", "bfloat16") for slots in (1, 3) for k in (2, 1)
    ]
    work = {(w["dtype"], w["denoising_steps"]): w for w in dream_speed["work"]}
    for row in rows:
        flops = work[row["dtype"], row["denoising_steps"]]["flops"]
        yardstick = row["matmul_gflops"][row["dtype"]] * 1e9
        assert len(row["readings"]) == 2
        assert row["frames_per_second"] == pytest.approx(np.median(row["readings"]))
        share = row["frames_per_second"] * flops / yardstick
        assert row["share_of_matmul_rate"] == pytest.approx(share) and share > 0
        least = max(row["arithmetic_seconds"], row["traffic_seconds"])
        assert row["arithmetic_seconds"] == pytest.approx(row["slots"] * flops / yardstick)
        taken = row["slots"] / row["frames_per_second"]
        assert row["share_of_roofline"] == pytest.approx(least / taken)
    assert len(dream_speed["checkpoint"]["weights_sha256"]) == 64
    latencies = dream_speed["one_slot"]
    assert [(r["dtype"], r["denoising_steps"]) for r in latencies] == [
        (dtype, k) for dtype in ("float32", "bfloat16") for k in (2, 1)
    ]
    assert all(r["seconds_99th"] >= r["seconds_median"] > 0 for r in latencies)


def test_an_old_dream_holds_as_many_bytes_as_a_young_one(dream_speed: dict[str, Any]) -> None:
    ages = dream_speed["over_time"]["ages"]
    # Every step up to an age is made, those that were timed at the age before included.
    assert [row["frames"] for row in ages] == [4, 24]
    for row in ages:
        assert row["young_frames"] == 4 and row["pairs"] == 20
        assert row["state_bytes"] == row["young_state_bytes"] == ages[0]["state_bytes"]
        assert 0 < row["low"] <= row["ratio"] <= row["high"]


def test_parts_add_up_to_a_step(dream_speed: dict[str, Any]) -> None:
    assert [(row["dtype"], row["slots"]) for row in dream_speed["parts"]] == [
        ("float32", 2), ("bfloat16", 2),
    ]  # fmt: skip
    for row in dream_speed["parts"]:
        spent = row["milliseconds"]
        assert spent["matrix products"] > 0 and spent["convolutions"] > 0
        assert spent["Python"] >= 0 and not any(name.startswith("compiled") for name in spent)
        # Under the profiler operations themselves may be slower than the whole step was without.
        assert sum(spent.values()) >= 0.9 * row["step_milliseconds"]


def test_the_real_environment_takes_turns_with_dreams(debug_checkpoint: Path) -> None:
    """In processes of its own, which know the counting environment by the name of its module."""
    from benchmarks.dream_speed import against_real
    from dreamenv.dream.vector_env import DreamVectorEnv

    env = DreamVectorEnv(2, debug_checkpoint, denoising_steps=1)
    result = against_real("counting_env:Counting-v0", env, 2, 0.05, Yardsticks(64, 1))
    rates = result["dream_frames_per_second"], result["real_frames_per_second"]
    assert [len(r) for r in rates] == [2, 2] and min(map(min, rates)) > 0
    assert result["ratio"] == pytest.approx(np.median(rates[0]) / np.median(rates[1]))
    assert (result["slots"], result["denoising_steps"]) == (2, 1)


def test_work_grows_by_the_same_with_every_pass() -> None:
    model = tiny_model().float()
    one, two, three = (frame_work(model, k) for k in (1, 2, 3))
    a_pass = two.flops - one.flops
    assert three.flops - two.flops == a_pass > 0
    # Two passes, one that denoises and one that writes, then the decoder; reward and continuation
    # and what the written frame is not asked for make the difference.
    assert 0.9 < (one.flops - one.decoder_flops) / (2 * a_pass) < 1.1
    assert one.state_bytes == two.state_bytes == model.initial_state(1).nbytes
    assert one.state_bytes < one.moved_state_bytes <= 2 * one.state_bytes


def test_work_of_a_model_that_imagines_by_the_reference_path() -> None:
    model = tiny_model(tiny_config({"scan": "none"})).float()
    assert frame_work(model, 2).flops > frame_work(model, 1).flops > 0


def test_bound_is_arithmetic_for_many_slots_and_traffic_for_few() -> None:
    work = FrameWork(
        flops=10**9, decoder_flops=0, weight_bytes=10**8, state_bytes=10**6,
        moved_state_bytes=2 * 10**6,
    )  # fmt: skip
    one, many = (work.bound(slots, gflops=100, gigabytes=10) for slots in (1, 100))
    assert one["arithmetic_seconds"] == pytest.approx(0.01)
    assert one["traffic_seconds"] == pytest.approx(0.0102)
    assert many["arithmetic_seconds"] == pytest.approx(1)
    assert many["traffic_seconds"] == pytest.approx(0.03)
    assert many["flops_per_byte"] == pytest.approx(100 * 10**9 / (3 * 10**8))


def test_old_and_young_are_compared_where_they_are_neighbours() -> None:
    """A machine that becomes three times as slow halfway does not look like a slow old dream."""
    machine = np.repeat([1.0, 3.0], 100)
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal((2, 200))
    young, old = machine * noise[0], 1.05 * machine * noise[1]
    result = compare(old.tolist(), young.tolist())
    assert result["low"] < 1.05 < result["high"] and result["high"] - result["low"] < 0.01
    assert result["pairs"] == 200


class Holder:
    """Something of this package that calls a library by ctypes."""

    __module__ = "dreamenv.somewhere"

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None)
        self.library.abs(1)  # a library knows its functions once they have been asked for
        self.kept = ctypes.CDLL(None).labs


def test_compiled_functions_are_timed_wherever_they_are_kept() -> None:
    holder = Holder()
    before = holder.library.abs, holder.kept
    with timed_functions([{"there": (holder,)}]) as spent:
        assert holder.library.abs(-3) == holder.kept(-3) == 3
        assert set(spent) == {"abs", "labs"} and min(spent.values()) > 0
    assert (holder.library.abs, holder.kept) == before
    holder.library.abs(-3)
    assert set(spent) == {"abs", "labs"}


def test_compiled_functions_are_split_into_the_parts_that_they_tell() -> None:
    functions = {"a": 3.0, "b": 1.0}
    assert split(functions, {"scan": 0.0, "norms": 0.0}, threads=2) == functions
    # Two threads had twice the seconds of the clock.
    assert split(functions, {"scan": 4.0, "norms": 0.0, "products": 3.0}, threads=2) == {
        "scan": 2.0, "products": 1.5, "rest and waiting": 0.5,
    }  # fmt: skip
    assert split(functions, {"scan": 10.0}, threads=2) == {"scan": 4.0, "rest and waiting": 0.0}


def test_a_stepper_is_asked_for_its_parts_only_meanwhile() -> None:
    class Stepper:
        spent = None

    stepper = Stepper()
    with timed_parts(stepper) as spent:
        assert stepper.spent is spent and spent.sum() == 0
    assert stepper.spent is None
    with timed_parts(object()) as spent:
        assert spent.sum() == 0
