"""A million dreamt frames: nothing breaks, memory and latency stay flat, however old a dream is.

    python -m benchmarks.endurance

Twenty minutes on two quiet cores. Killed, the same command goes on from its last checkpoint; with
more `--frames` a finished run goes on as well.

Two environments are stepped alternately with sticky random actions, half of the slots in each: one
in episodes of `--horizon` steps, one in a single episode that lasts until the end, 100,000 steps
by default. So old and young dreams are timed under the same conditions throughout, and compared
at some ages and at the end (`benchmarks/ageing.py`).

Every step is checked: rewards, features and uncertainties are finite numbers, every frame has
contrast. At regular checkpoints the process's memory, the latency of a step since the last
checkpoint, and a matrix product as a yardstick of the machine at that moment are noted.
Result: docs/results/endurance.json.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from benchmarks.ageing import age, compare
from benchmarks.script import DOCS, conditions, options, store
from dreamenv.core.errors import CheckpointError, ConfigError
from dreamenv.core.files import atomic_write_json
from dreamenv.core.machine import matmul_rate
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv

STICKINESS = 0.8
CONTRAST = 0.5
"""Least standard deviation of a frame's pixels, 0 … 255."""
AGES = (100, 1000, 10_000, 100_000)
PAIRS = 2000
"""Steps of old and young dreams that are compared before an age is reached; fewer at first."""
FIXED = ("checkpoint", "slots", "horizon")
"""Settings that a run cannot change on its way; it may become longer."""


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize()


class Checks:
    """What must hold at every step.

    Raises:
        RuntimeError: it does not; says what, where and when.
    """

    def __init__(self) -> None:
        self.steps = self.episodes = self.still = 0
        self.least_contrast = float("inf")
        self._before: NDArray | None = None

    def __call__(self, result: tuple) -> None:
        """Look at what `DreamVectorEnv.step` returned."""
        observations, rewards, terminated, truncated, info = result
        self.steps += 1
        finite = {
            "reward": rewards,
            "feature": observations["memory"],
            "uncertainty": info["uncertainty"],
        }
        for name, values in finite.items():
            if not np.isfinite(values).all():
                raise RuntimeError(f"a {name} is not finite in step {self.steps}: {values}")
        frames = observations["frame"]
        contrast = float(frames.std((1, 2, 3)).min())
        if contrast < CONTRAST:
            raise RuntimeError(f"a frame of step {self.steps} has contrast {contrast:.2f}")
        if self._before is not None:
            self.still += int((frames == self._before).all((1, 2, 3)).sum())
        self.least_contrast = min(self.least_contrast, contrast)
        self.episodes += int((terminated | truncated).sum())
        self._before = frames

    def to_json(self) -> dict[str, Any]:
        """What was seen, and enough to go on counting."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Party:
    """Dreams of one environment under sticky random actions, timed and checked.

    Args:
        name: of its files. slots: of dreams. horizon: steps of their episodes.
        checkpoint: of the world model. seed: of actions and dreams.
    """

    def __init__(self, name: str, slots: int, horizon: int, checkpoint: str, seed: int) -> None:
        self.name = name
        self.env = DreamVectorEnv(slots, checkpoint, horizon=horizon, observation="memory")
        assert isinstance(self.env.single_action_space, Discrete)
        self.count = int(self.env.single_action_space.n)
        self.rng, self.check = np.random.default_rng(seed), Checks()
        self.env.reset(seed=seed)
        self.actions = self.rng.integers(self.count, size=slots)
        self.seconds: list[float] = []
        """Of every step since the last checkpoint, and of as many before as are compared."""

    def step(self) -> None:
        """One step of all slots."""
        slots = self.env.num_envs
        change = self.rng.random(slots) >= STICKINESS
        self.actions = np.where(change, self.rng.integers(self.count, size=slots), self.actions)
        before = time.perf_counter()
        result = self.env.step(self.actions)
        self.seconds.append(time.perf_counter() - before)
        self.check(result)

    def save(self, folder: Path, step: int) -> dict[str, Any]:
        """Write the dreams to a file of their own; returns the rest."""
        self.env.get_state().save(self._file(folder, step))
        return {
            "rng": self.rng.bit_generator.state,
            "actions": self.actions.tolist(),
            "seconds": self.seconds[-PAIRS:],
            "check": self.check.to_json(),
        }

    def load(self, folder: Path, step: int, saved: dict[str, Any]) -> None:
        """Go on from what `save` has written at this step."""
        self.env.set_state(DreamState.load(self._file(folder, step)))
        self.rng.bit_generator.state = saved["rng"]
        self.actions, self.seconds = np.array(saved["actions"]), saved["seconds"]
        vars(self.check).update(saved["check"])

    def forget(self, folder: Path, step: int) -> None:
        """Remove files of other steps."""
        for path in folder.glob(f"{self.name}.*.dream"):
            if path != self._file(folder, step):
                path.unlink()

    def _file(self, folder: Path, step: int) -> Path:
        return folder / f"{self.name}.{step}.dream"


class Endurance:
    """The whole run: where it stands, and what was noted on the way.

    Args:
        folder: where it is kept.
        settings: `checkpoint`, `frames`, `slots`, `horizon` and `checkpoints`.

    Raises:
        ConfigError: the folder holds a run of other settings, or slots cannot be halved.
        CheckpointError: what the folder holds is damaged, or of other weights.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        slots, horizon = settings["slots"], settings["horizon"]
        if slots < 2 or slots % 2:
            raise ConfigError(f"half of the slots never end, half do; {slots} cannot be halved")
        self.steps = -(-settings["frames"] // slots)
        checkpoint = settings["checkpoint"]
        self.old = Party("ageless", slots // 2, self.steps + 1, checkpoint, seed=0)
        self.young = Party("episodes", slots // 2, horizon, checkpoint, seed=slots // 2)
        self.step, self.minutes, self.process = 0, 0.0, 0
        self.noted: list[dict[str, Any]] = []
        self.ages: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if self._progress.exists():
            self._resume()

    @property
    def _progress(self) -> Path:
        return self.folder / "progress.json"

    def _resume(self) -> None:
        try:
            saved = json.loads(self._progress.read_text("utf-8"))
            settings = saved["settings"]
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self._progress} is damaged ({error!r}); delete it") from error
        if any(settings.get(name) != self.settings[name] for name in FIXED):
            raise ConfigError(
                f"{self.folder} holds a run with {settings}, not {self.settings}; choose another "
                "--run, or delete it to begin anew"
            )
        self.step, self.minutes = saved["step"], saved["minutes"]
        self.noted, self.ages = saved["checkpoints"], saved["ages"]
        self.process = saved["process"] + 1
        for party in (self.old, self.young):
            party.load(self.folder, self.step, saved[party.name])
        print(f"goes on from frame {self.step * self.settings['slots']}", flush=True)

    def run(self) -> dict[str, Any]:
        """Dream on to the end; returns what the result file holds."""
        count = self.settings["checkpoints"]
        marks = {round(self.steps * (i + 1) / count) for i in range(count)}
        began = time.perf_counter() - 60 * self.minutes
        began_here, first = time.perf_counter(), self.step
        since = {party.name: len(party.seconds) for party in (self.old, self.young)}
        while self.step < self.steps:
            self.step += 1
            pair = (self.old, self.young) if self.step % 2 else (self.young, self.old)
            for party in pair:
                party.step()
            if self.step in AGES:
                self.ages.append(self._compare())
            if self.step in marks:
                self.minutes = (time.perf_counter() - began) / 60
                self.noted.append(self._note(since))
                self._save()
                since = {party.name: len(party.seconds) for party in pair}
                rate = (time.perf_counter() - began_here) / (self.step - first)
                left = (self.steps - self.step) * rate / 60
                print(f"{self.noted[-1]}; {left:.0f} minutes left", flush=True)
        if not self.ages or self.ages[-1]["frames"] < age(self.old.env):
            self.ages.append(self._compare())
        return {
            "slots": self.settings["slots"],
            "horizon": self.settings["horizon"],
            "frames": self.step * self.settings["slots"],
            "processes": self.process + 1,
            "over_time": {"slots": self.old.env.num_envs, "ages": self.ages},
            "checkpoints": self.noted,
            "episodes": self.young.check.episodes,
            "episodes_of_ageless_dreams_that_ended": self.old.check.episodes,
            "least_contrast": min(p.check.least_contrast for p in (self.old, self.young)),
            "frames_equal_to_the_one_before": self.old.check.still + self.young.check.still,
            **flatness(self.noted),
        }

    def _compare(self) -> dict[str, Any]:
        pairs = min(PAIRS, self.step // 2 or 1)
        return {
            "frames": age(self.old.env),
            "young_frames": self.settings["horizon"] // 2,
            **compare(self.old.seconds[-pairs:], self.young.seconds[-pairs:]),
            "state_bytes": self.old.env.state_nbytes,
            "young_state_bytes": self.young.env.state_nbytes,
        }

    def _note(self, since: dict[str, int]) -> dict[str, Any]:
        def milliseconds(party: Party) -> dict[str, float]:
            median, p99 = np.percentile(party.seconds[since[party.name] :], [50, 99]).tolist()
            return {"median": round(1000 * median, 3), "p99": round(1000 * p99, 3)}

        return {
            "frames": self.step * self.settings["slots"],
            "minutes": round(self.minutes, 3),
            "process": self.process,
            "resident_mib": round(resident_bytes() / 2**20, 2),
            "state_bytes": self.old.env.state_nbytes,
            "step_ms": milliseconds(self.old),
            "young_step_ms": milliseconds(self.young),
            "matmul_gflops": round(matmul_rate(torch.float32, 1024), 1),
        }

    def _save(self) -> None:
        for party in (self.old, self.young):
            party.seconds = party.seconds[-PAIRS:]
        # The dreams first, under new names: a progress file always finds those of its own step.
        parties = {
            party.name: party.save(self.folder, self.step) for party in (self.old, self.young)
        }
        atomic_write_json(
            self._progress,
            {
                "settings": self.settings,
                "step": self.step,
                "minutes": self.minutes,
                "process": self.process,
                "checkpoints": self.noted,
                "ages": self.ages,
                **parties,
            },
        )
        for party in (self.old, self.young):
            party.forget(self.folder, self.step)


def flatness(noted: list[dict[str, Any]]) -> dict[str, float]:
    """The last fifth of the run against the first, whose first checkpoint warms up and is left out.

    `latency_ratio` is of median steps; in `latency_ratio_by_yardstick` each is first multiplied
    by the matrix products per second of its moment, so that a machine that others slow down does
    not count as a dream that grows slow. A process that goes on from a file begins small, so
    memory is compared within the last process that noted something.
    """

    def ratio(notes: list[dict[str, Any]], of: Any) -> float:
        fifth = max(1, len(notes) // 5)
        first, last = notes[1 : 1 + fifth] or notes, notes[-fifth:]
        return float(np.median([of(n) for n in last]) / np.median([of(n) for n in first]))

    one_process = [n for n in noted if n["process"] == noted[-1]["process"]]
    return {
        "resident_ratio": ratio(one_process, lambda n: n["resident_mib"]),
        "state_ratio": ratio(noted, lambda n: n["state_bytes"]),
        "latency_ratio": ratio(noted, lambda n: n["step_ms"]["median"]),
        "latency_ratio_by_yardstick": ratio(
            noted, lambda n: n["step_ms"]["median"] * n["matmul_gflops"]
        ),
    }


def main() -> None:
    """Run and store."""
    parser = options(__doc__, "endurance.json")
    parser.add_argument("--checkpoint", default="bundled:memory_maze_9x9")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--slots", type=int, default=10, help="half of them never end")
    parser.add_argument("--horizon", type=int, default=200, help="steps of the others' episodes")
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--run", type=Path, default=DOCS.parent / "runs" / "endurance")
    args = parser.parse_args()
    about = conditions("endurance")
    names = ("checkpoint", "frames", "slots", "horizon", "checkpoints")
    endurance = Endurance(args.run, {name: getattr(args, name) for name in names})
    about["checkpoint"] = {
        "name": args.checkpoint,
        "weights_sha256": endurance.old.env.loaded.fingerprint,
    }
    result = {**about, **endurance.run()}
    rates = [note["matmul_gflops"] for note in result["checkpoints"]]
    result["over_time"]["matmul_gflops"] = {"float32": float(np.median(rates))}
    store(args.out, result)
    print({name: value for name, value in result.items() if name != "checkpoints"})


if __name__ == "__main__":
    main()
