"""Published protocols: their numbers, and the rollouts that they can be measured on."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.evaluation.metrics.protocols import PROTOCOLS, Protocol, protocol_of
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.thinning import stacked_space, thinned
from dreamenv.rollouts.writer import RolloutWriter

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "open_loop.py"
SPACE = Box(0, 255, (16, 16, 3), np.uint8)


def stored(path: Path, every: int = 1, steps: int = 299) -> RolloutStore:
    """A store of one trajectory of 300 frames, as TECO's are, or every so many of them."""
    last = np.arange(steps) == steps - 1
    frames = np.random.default_rng(0).integers(0, 256, (steps + 1, 16, 16, 3), np.uint8)
    zeros = np.zeros(steps, np.float32)
    episode = Episode(frames, np.arange(steps) % 3, zeros, np.zeros(steps, np.bool_), last)
    metadata = {"import": {"every": every}} if every > 1 else {}
    actions = stacked_space(Discrete(3), every)
    with RolloutWriter(path, "Ring-v0", SPACE, actions, metadata) as writer:
        writer.append(thinned(episode, every))
    return RolloutStore(path)


def test_trajectories_of_300_frames_are_just_long_enough(tmp_path: Path) -> None:
    whole, half = stored(tmp_path / "whole"), stored(tmp_path / "half", 2)
    assert protocol_of("teco", whole) == Protocol(144, 156)
    assert protocol_of("dfot", half) == Protocol(100, 50, 2)
    for name, store in (("teco", whole), ("dfot", half)):
        protocol = PROTOCOLS[name]
        assert protocol.context + protocol.horizon == store.lengths[0] + 1


def test_frames_that_are_other_steps_apart_are_refused(tmp_path: Path) -> None:
    whole, half = stored(tmp_path / "whole"), stored(tmp_path / "half", 2)
    with pytest.raises(RolloutError, match="of frames 2 steps apart, and .* are 1 apart; import"):
        protocol_of("dfot", whole)
    with pytest.raises(RolloutError, match="of frames 1 steps apart, and .* are 2 apart"):
        protocol_of("teco", half)
    with pytest.raises(ConfigError, match="the protocols are short, dfot, teco, not 'paper'"):
        protocol_of("paper", whole)


def test_the_benchmark_measures_by_a_protocol(
    ring_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = stored(tmp_path / "whole", steps=20), tmp_path / "out.json"
    arguments = ["--checkpoint", str(ring_checkpoint), "--rollouts", str(store.path)]
    arguments += ["--clips", "1", "--steps", "1", "--picture", str(tmp_path / "strip.png")]
    arguments += ["--protocol", "teco", "--out", str(out)]
    monkeypatch.setitem(PROTOCOLS, "teco", Protocol(9, 5))  # shorter, for the test's sake
    monkeypatch.setattr(sys, "argv", ["open_loop.py", *arguments])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(BENCHMARK), run_name="__main__")
    result = json.loads(out.read_text())
    assert result["protocol"] == {"name": "teco", "context": 9, "horizon": 5, "every": 1}
    assert result["clips"]["context"] == 9
    assert len(result["psnr_db"]["mean frame"]["mean"]) == 5
