"""The training loop, the same for both stages: resume, update, log, evaluate, checkpoint."""

from __future__ import annotations

import io
import math
import pickle
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from dreamenv.core.errors import CheckpointError, DreamEnvError
from dreamenv.core.files import atomic_write_bytes
from dreamenv.core.interruption import stop_requested
from dreamenv.core.progress import progress_bar
from dreamenv.core.reading import open_file
from dreamenv.training.config import StageConfig
from dreamenv.training.data import prefetch
from dreamenv.training.optimizer import Average, Optimizer
from dreamenv.training.processes import Processes
from dreamenv.training.records import Records

MOST_BYTES = 2**40
"""A training state may be so large; what is read is never more than the file has."""

B = TypeVar("B")


@dataclass(frozen=True)
class Run:
    """The settings that the stages of a run share."""

    folder: Path
    seed: int
    log_every: int
    """Updates between two rows of losses."""
    evaluate_every: int
    """Updates between two looks at held-out rollouts."""
    checkpoint_every: int
    """Updates between two saves that a killed run goes on from."""
    told: dict[str, Any]
    """The whole configuration as plain data, for the records."""
    shares: int = 1
    """Equal parts in which every batch is computed."""
    processes: Processes = field(default_factory=Processes)
    """Those that the run is shared by."""


class Stage(Generic[B]):
    """A stage trains `modules` on batches; everything that differs between stages is handed in.

    Args:
        name: of the state file and of the metrics.
        shared: what it has in common with the other stages of its run.
        config: how the stage is optimised.
        modules: what is trained.
        hidden: the part whose matrices Muon updates.
        make_batch: share k of the batch of update i, by (i, k); must depend on them alone.
        losses: (batch, i, generator) → losses, of which `total` is minimised, of each segment
            of the batch; a segment's gradient is taken before the next segment is asked for.
        frames_per_batch: for the rate in frames/s.
        evaluate: called with the averaged weights in place.
        on_checkpoint: called with the averaged weights in place before each state is saved, so
            that a state never claims updates that its checkpoint lacks.
        about: plain data saved with each state.
        adapt: called with a saved state before it is resumed, and may change it.
    """

    def __init__(
        self,
        name: str,
        shared: Run,
        config: StageConfig,
        modules: nn.ModuleDict,
        hidden: nn.Module,
        make_batch: Callable[[int, int], B],
        losses: Callable[[B, int, torch.Generator], Iterable[dict[str, Tensor]]],
        frames_per_batch: int,
        evaluate: Callable[[int, SummaryWriter], dict[str, float]] | None = None,
        on_checkpoint: Callable[[int], None] | None = None,
        about: dict[str, Any] | None = None,
        adapt: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.name, self.shared, self.config = name, shared, config
        self.modules, self.make_batch, self.losses = modules, make_batch, losses
        self.frames_per_batch = frames_per_batch
        self.evaluate, self.on_checkpoint = evaluate, on_checkpoint
        self.about, self.adapt = about or {}, adapt
        self.optimizer = Optimizer(modules.values(), hidden, config.weight_decay)
        self.average = Average(modules, config.ema)
        self.path = shared.folder / "training" / f"{name}.pt"
        self.records = Records(shared.folder, name)
        self.step, self.seconds = 0, 0.0

    def run(self) -> None:
        """Train from wherever the last checkpoint left off; ends with the average in place.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM came. The update in progress was finished and
                everything saved, so that the same run goes on as if nothing had happened.
            CheckpointError: the saved state cannot be resumed.
        """
        self._resume()
        main = self.shared.processes.main
        if main:
            self.records.forget_after(self.step)
        if main and self.step < self.config.steps:
            self.records.note_history(self.step, self.shared.told)
        writer = self.records.open_charts() if main else None
        try:
            with stop_requested() as stop:
                self._loop(writer, stop)
        finally:
            if writer:
                writer.close()
        self.average.swap(self.modules)

    def _loop(self, writer: SummaryWriter | None, stop: threading.Event) -> None:
        run = self.shared
        bar = progress_bar(
            title=self.name,
            unit="update",
            total=self.config.steps,
            initial=self.step,
            show=writer is not None,
        )
        batches = prefetch(self._make_shares, self.step, self.config.steps)
        began = mark = time.perf_counter()
        waited = 0.0
        elapsed_before = self.seconds
        try:
            while self.step < self.config.steps:
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                losses, norm = self._update(batch)
                self.step += 1
                self.seconds = elapsed_before + time.perf_counter() - began
                bar.update()
                if self.step % run.log_every == 0:
                    now = time.perf_counter()
                    values = {key: float(value) for key, value in losses.items()}
                    values["gradient_norm"] = norm
                    values["frames_per_second"] = (
                        run.log_every * self.frames_per_batch / (now - mark)
                    )
                    values["waiting_for_data"] = waited / (now - mark)
                    self._log(writer, "train", values)
                    bar.set_postfix(loss=f"{values['total']:.3f}")
                    mark, waited = now, 0.0
                last = self.step == self.config.steps
                if self.evaluate and (last or self.step % run.evaluate_every == 0):
                    self._evaluate(writer)
                # Asked for after looking and again after the last save, which take longest: nothing
                # else would hear of it.
                stopped = run.processes.agree(stop.is_set())
                if last or stopped or self.step % run.checkpoint_every == 0:
                    self._save(writer)
                if stopped or (last and run.processes.agree(stop.is_set())):
                    raise KeyboardInterrupt
        finally:
            batches.close()  # type: ignore[attr-defined]
            bar.close()

    def _make_shares(self, step: int) -> list[B]:
        run = self.shared
        return [self.make_batch(step, share) for share in run.processes.shares(run.shares)]

    def _update(self, batches: list[B]) -> tuple[dict[str, Any], float]:
        run = self.shared
        told: dict[str, Tensor] = {}
        shares = run.processes.shares(run.shares)
        for share, batch in zip(shares, batches, strict=True):
            generator = torch.Generator().manual_seed(noise_seed(run.seed, self.step, share))
            parts = []
            for losses in self.losses(batch, self.step, generator):
                (losses["total"] / run.shares).backward()
                parts.append({name: value.detach() for name, value in losses.items()})
            for name in parts[0]:
                loss = torch.stack([p[name] for p in parts]).sum(0) / len(parts) / run.shares
                told[name] = told[name] + loss if name in told else loss
        if not run.processes.alone:
            values = torch.stack([*told.values()])
            values = run.processes.add_up(self.optimizer.parameters, values)
            told = dict(zip(told, values, strict=True))
        norm = self.optimizer.step(self.config.rate(self.step))
        if not math.isfinite(norm):
            raise DreamEnvError(
                f"{self.name}: the gradient is not finite at update {self.step}; the state of the "
                f"last checkpoint stands in {self.path}; resume with a lower learning rate"
            )
        self.average.update(self.modules)
        return told, norm

    def _evaluate(self, writer: SummaryWriter | None) -> None:
        assert self.evaluate is not None
        if writer is None:
            return
        self.average.swap(self.modules)
        self._log(writer, "held_out", self.evaluate(self.step, writer))
        self.average.swap(self.modules)

    def _log(self, writer: SummaryWriter | None, kind: str, values: dict[str, float]) -> None:
        if writer is None:
            return
        self.records.write(writer, kind, self.step, self.seconds, values)

    def _save(self, writer: SummaryWriter | None) -> None:
        if writer is None:
            return
        writer.flush()  # a state never claims updates that the logs lack
        if self.on_checkpoint:
            self.average.swap(self.modules)
            self.on_checkpoint(self.step)
            self.average.swap(self.modules)
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "modules": self.modules.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "about": self.about,
        }
        torch.save(state, buffer)
        atomic_write_bytes(self.path, buffer.getvalue())

    def _resume(self) -> None:
        if not self.path.exists():
            return
        try:
            with open_file(self.path, MOST_BYTES) as file:
                state = torch.load(file, map_location="cpu", weights_only=True)
            if self.adapt:
                self.adapt(state)
            self.modules.load_state_dict(state["modules"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as error:  # torch.load raises whatever its unpickler meets
            # The unpickler's own advice, to load without its safeguards, is not passed on.
            foreign = isinstance(error, pickle.UnpicklingError)
            reason = "not a training state" if foreign else str(error).split("\n")[0]
            raise CheckpointError(
                f"{self.path} cannot be resumed ({reason}); it is damaged or was made by another "
                "configuration: train into another --out, or delete the file to start again"
            ) from error


def noise_seed(seed: int, step: int, share: int) -> int:
    """Seed of the noise in one share of the batch of an update."""
    return seed * 1_000_003 + step + (share << 40)
