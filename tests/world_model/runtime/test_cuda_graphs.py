"""Recorded steps dream what unrecorded ones do, and belong to the memory they were recorded with.

Here a recording is the function itself; what CUDA makes of it is checked by `benchmarks.cuda`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.runtime.cuda import graphs as step_graph
from dreamenv.world_model.runtime.cuda.graphs import UNRECORDED_STEPS, StepGraphs
from dreamenv.world_model.state import State
from tests.world_model.models import TOLERANCE, random_actions, tiny_config, tiny_model

SLOTS = 3


class Recorder:
    """A `Capture` that counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            function()

        return replay


def given(model: WorldModel, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(model.noise_shape(SLOTS), generator=generator, dtype=torch.float64)
    return random_actions(SLOTS, 1, seed)[:, 0], noise


def step(graphs: StepGraphs, model: WorldModel, state: State, seed: int) -> tuple[Tensor, Outcome]:
    with torch.no_grad():
        frames, outcome, after = graphs(
            model._imagine_in_place, state, *given(model, seed), None, model.head.parameters()
        )
    assert after is state
    return frames, outcome


def test_recorded_steps_dream_what_others_do() -> None:
    model, recorder = tiny_model(tiny_config()), Recorder()
    graphs = StepGraphs(recorder)
    state, reference = model.initial_state(SLOTS), model.initial_state(SLOTS)
    places = {name: x.data_ptr() for name, x in state.named_tensors()}
    kept = []
    for seed in range(6):
        frames, outcome = step(graphs, model, state, seed)
        wanted, outcome_wanted, reference = model.imagine(reference, *given(model, seed))
        kept.append((frames, wanted))
        for name in ("reward", "reward_probabilities", "continuation", "features"):
            one, other = getattr(outcome, name), getattr(outcome_wanted, name)
            torch.testing.assert_close(one, other, **TOLERANCE)
        for (name, one), (_, other) in zip(
            state.named_tensors(), reference.named_tensors(), strict=True
        ):
            torch.testing.assert_close(one, other, **TOLERANCE, msg=name)
            assert one.data_ptr() == places[name]
    assert (recorder.recorded, recorder.replayed) == (1, 6 - UNRECORDED_STEPS)
    for frames, wanted in kept:  # later steps have not written into earlier frames
        torch.testing.assert_close(frames, wanted, **TOLERANCE)


def test_two_dreams_of_one_model_do_not_meet() -> None:
    model, recorder = tiny_model(), Recorder()
    graphs = StepGraphs(recorder)
    states = [model.initial_state(SLOTS) for _ in range(2)]
    references = [model.initial_state(SLOTS) for _ in range(2)]
    for seed in range(5):
        for which, state in enumerate(states):
            frames, _ = step(graphs, model, state, 10 * which + seed)
            wanted, _, references[which] = model.imagine(
                references[which], *given(model, 10 * which + seed)
            )
            torch.testing.assert_close(frames, wanted, **TOLERANCE)
    assert recorder.recorded == 2


def test_memory_that_was_changed_in_place_needs_no_new_recording() -> None:
    """As when some slots begin a new episode."""
    model, recorder = tiny_model(), Recorder()
    graphs = StepGraphs(recorder)
    state, reference = model.initial_state(SLOTS), model.initial_state(SLOTS)
    for seed in range(6):
        frames, _ = step(graphs, model, state, seed)
        wanted, _, reference = model.imagine(reference, *given(model, seed))
        torch.testing.assert_close(frames, wanted, **TOLERANCE)
        state = state.put([1], model.initial_state(1))
        reference = reference.put([1], model.initial_state(1))
    assert recorder.recorded == 1


@pytest.mark.parametrize("change", ["another memory", "another number of passes", "other heads"])
def test_what_a_recording_does_not_know_is_recorded_anew(change: str) -> None:
    model, recorder = tiny_model(), Recorder()
    graphs = StepGraphs(recorder)
    state, passes = model.initial_state(SLOTS), None
    for turn in range(2):
        if turn:
            if change == "another memory":
                state = state.clone()
            elif change == "another number of passes":
                passes = 3
            else:
                model.head.load_state_dict(
                    {name: x.clone() for name, x in model.head.state_dict().items()}, assign=True
                )
        for seed in range(UNRECORDED_STEPS + 1):
            with torch.no_grad():
                uses = model.head.parameters()
                graphs(model._imagine_in_place, state, *given(model, seed), passes, uses)
        assert recorder.recorded == turn + 1


def test_where_recording_fails_dreams_go_on() -> None:
    model = tiny_model()
    attempts = []

    def failing(function: Callable[[], None]) -> Callable[[], None]:
        attempts.append(function)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    graphs = StepGraphs(failing)
    state, reference = model.initial_state(SLOTS), model.initial_state(SLOTS)
    for seed in range(5):
        with torch.no_grad():
            frames, _, state = graphs(model._imagine_in_place, state, *given(model, seed), None)
        wanted, _, reference = model.imagine(reference, *given(model, seed))
        torch.testing.assert_close(frames, wanted, **TOLERANCE)
    assert len(attempts) == 1


def test_recordings_are_given_up_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graph, "MOST_GRAPHS", 2)
    model, recorder = tiny_model(), Recorder()
    graphs = StepGraphs(recorder)
    states = [model.initial_state(SLOTS) for _ in range(3)]
    for state in states:
        for seed in range(UNRECORDED_STEPS + 1):
            step(graphs, model, state, seed)
    assert recorder.recorded == 3 and len(graphs._steps) == 2
    step(graphs, model, states[2], 9)
    assert recorder.recorded == 3, "the newest is still known"


def test_threads_record_one_at_a_time() -> None:
    model, together = tiny_model(tiny_config()), []

    def record(function: Callable[[], None]) -> Callable[[], None]:
        together.append(threading.current_thread())
        time.sleep(0.05)  # long enough for the other to come by
        together.append(threading.current_thread())
        return function

    graphs = StepGraphs(record)

    def dream(seed: int) -> Tensor:
        state = model.initial_state(SLOTS)
        return torch.stack(
            [step(graphs, model, state, seed + t)[0] for t in range(UNRECORDED_STEPS + 2)]
        )

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(dream, [0, 10]))
    assert len(together) == 4 and together[0] is together[1] and together[2] is together[3]
    for frames, seed in zip(found, (0, 10), strict=True):
        assert torch.equal(frames, dream(seed))
