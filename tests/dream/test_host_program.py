"""A dream is the same under whatever its program has set, and leaves it as it was."""

from __future__ import annotations

import locale
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamenv.dream import loading
from dreamenv.dream.env import DreamEnv
from dreamenv.dream.episode_memory import EpisodeMemory
from tests.process_state import process_state

Shown = list[np.ndarray]


@contextmanager
def set_to(value: Any, read: Callable[[], Any], write: Callable[[Any], Any]) -> Iterator[None]:
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def default_dtype(dtype: torch.dtype) -> AbstractContextManager:
    return set_to(dtype, torch.get_default_dtype, torch.set_default_dtype)


SETTINGS: dict[str, Callable[[], AbstractContextManager]] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "another device by default": lambda: torch.device("meta"),
    "deterministic algorithms": lambda: set_to(
        True, torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "products of less precision": lambda: set_to(
        "medium", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "less precision everywhere": lambda: set_to(
        "tf32",
        lambda: "none",
        lambda value: torch._C._set_fp32_precision_setter("generic", "all", value),
    ),
    "denormal numbers flushed": flushed_denormals,
    "errors of NumPy raised": lambda: np.errstate(all="raise"),
    "warnings raised": warnings_are_errors,
    "another locale": lambda: set_to(
        "C", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)
    ),
}


def live(checkpoint: Path, dtype: str) -> tuple[Shown, Callable[[], Shown]]:
    """Make environments and use all of them; what they show, and how they go on."""
    shown: Shown = []
    env = DreamEnv(checkpoint, dtype=dtype, observation="memory")

    def see(observation: Any) -> None:
        shown.extend(observation[name] for name in ("frame", "memory"))

    def step(action: int) -> None:
        observation, reward, *_, info = env.step(action)
        see(observation)
        shown.append(np.array([reward, info["uncertainty"]]))

    see(env.reset(seed=3)[0])
    step(1)
    state = env.get_state()
    step(2)
    see(env.fork(2, seed=1).step(np.array([0, 1]))[0])
    env.set_state(state.select([0]))
    step(2)
    context = env.vector.spawns.frames[0], env.vector.spawns.actions[0, 1:]
    memory = EpisodeMemory(1, checkpoint, dtype=dtype)
    memory.begin([0], [context])
    memory.watch(context[0][:1], np.array([1]))
    see(memory.show())

    def go_on() -> Shown:
        shown.clear()
        step(0)
        memory.watch(context[0][1:2], np.array([2]))
        see(memory.show())
        env.reset()
        step(0)
        return list(shown)

    return list(shown), go_on


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def usual(request: pytest.FixtureRequest, debug_checkpoint: Path) -> tuple[str, Shown]:
    """A dtype, and what dreams in it show under settings as Python and torch begin with."""
    shown, go_on = live(debug_checkpoint, request.param)
    return request.param, shown + go_on()


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_the_program_shows_in_a_dream(
    debug_checkpoint: Path, usual: tuple[str, Shown], name: str
) -> None:
    dtype, want = usual
    with SETTINGS[name]():
        loading._load.cache_clear()  # weights are loaded under it, too
        shown, go_on = live(debug_checkpoint, dtype)
    for here, there in zip(shown + go_on(), want, strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("made_before", [True, False])
def test_a_dream_leaves_every_setting_and_all_chance_as_it_was(
    debug_checkpoint: Path, made_before: bool
) -> None:
    live(debug_checkpoint, "float32")[1]()  # imports leave what they leave
    names = [x for x in SETTINGS if not x.startswith(("errors", "warnings", "less"))]
    if not made_before:
        loading._load.cache_clear()
    with ExitStack() as settings:
        for name in names:
            settings.enter_context(SETTINGS[name]())
        before = process_state()
        live(debug_checkpoint, "float32")[1]()
        assert process_state() == before


def test_a_state_from_inference_mode_can_be_gone_on_from_outside(debug_checkpoint: Path) -> None:
    model = loading.load_for_dreaming(debug_checkpoint, dtype="float32").model
    action, noise = torch.tensor([1]), torch.zeros(model.noise_shape(1))
    frames = []
    for mode in (nullcontext, torch.inference_mode):
        with mode():
            state = model.initial_state(1).select([0])
        frames.append(model.imagine(state, action, noise, reuse=True)[0])
    assert torch.equal(*frames)


def test_threads_that_make_environments_at_once_load_the_weights_once(
    debug_checkpoint: Path,
) -> None:
    loading._load.cache_clear()
    with ThreadPoolExecutor(4) as threads:
        made = threads.map(lambda _: DreamEnv(debug_checkpoint, dtype="float32"), range(4))
        loaded = {id(env.vector.loaded) for env in list(made)}
    assert len(loaded) == 1


FREED_ELSEWHERE = """
import sys
import torch
from dreamenv.dream.env import DreamEnv

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

env = DreamEnv(sys.argv[1])
env.reset(seed=0)
env.step(0)
before = held()
for size in 2**18, 2**26:  # in blocks of 1 MiB, and as a whole
    blocks = [torch.ones(size) for _ in range(2**26 // size)]
    assert held() - before > 2**27
    del blocks
    print((held() - before) // 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_the_program_frees_goes_back_to_the_system(debug_checkpoint: Path) -> None:
    command = [sys.executable, "-c", FREED_ELSEWHERE, str(debug_checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(int(kept) < 100 for kept in done.stdout.split()), "MiB of 256"
