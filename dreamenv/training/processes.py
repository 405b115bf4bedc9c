"""The processes of one training: each computes its shares of every batch, all keep equal weights.

`accelerate launch` and `torchrun` start them and tell each, by environment variables, which of how
many it is; nothing else is needed here but torch's own collective operations. They may be on
several machines that see one file system. The first one, `main`, writes everything.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from dreamenv.core.errors import ConfigError, DreamEnvError

PATIENCE = datetime.timedelta(days=1)
"""A process waits so long for the others, of which the main one may be encoding all rollouts. One
that ends is noticed at once."""
BUCKET = 2**25
"""Numbers of gradients that are added up at a time."""


class Processes:
    """This process among those of its training; alone by default.

    Attributes:
        index: of this process, from 0.
        count: how many there are.
        local: index among those of this machine.
    """

    def __init__(self, index: int = 0, count: int = 1, local: int = 0) -> None:
        self.index, self.count, self.local = index, count, local

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def device(self, name: str) -> str:
        """The device that this process is to use where the run was told to use `name`."""
        several = name in ("auto", "cuda") and not self.alone and torch.cuda.is_available()
        return f"cuda:{self.local}" if several else name

    def shares(self, count: int) -> range:
        """Which of `count` shares of a batch are for this process."""
        each = count // self.count
        return range(self.index * each, (self.index + 1) * each)

    def wait(self) -> None:
        """Go on when all others are here too."""
        if not self.alone:
            self._sum(torch.zeros(1))

    def agree(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag if self.alone else bool(self._sum(torch.tensor([float(flag)])).item())

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process through before the others, which find what it has made."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    @torch.no_grad()
    def add_up(self, parameters: Sequence[Tensor], values: Tensor) -> Tensor:
        """Sum gradients over all processes, in place; a gradient that none has stays None.

        Args:
            parameters: whose gradients; the same in every process.
            values: (n,) some numbers.

        Returns:
            The sum of `values`.

        Raises:
            DreamEnvError: another process has ended.
        """
        known = [float(p.grad is not None) for p in parameters]
        small = torch.cat([values.float(), torch.tensor(known, device=values.device)])
        small = self._sum(small)
        told, there = small[: len(values)], small[len(values) :].tolist()
        bucket: list[Tensor] = []
        for parameter, known_by in zip(parameters, there, strict=True):
            if known_by:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                bucket.append(parameter.grad)
            if sum(grad.numel() for grad in bucket) >= BUCKET:
                self._sum_all(bucket)
                bucket = []
        self._sum_all(bucket)
        return told

    def _sum_all(self, tensors: list[Tensor]) -> None:
        if tensors:
            flat = self._sum(torch.cat([tensor.flatten() for tensor in tensors]))
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def _sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes.

        Raises:
            DreamEnvError: another process has ended.
        """
        if dist.get_backend() == "nccl":
            tensor = tensor.to(f"cuda:{self.local}")
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise DreamEnvError(
                f"process {self.index} of {self.count} lost the others ({reason}): one of them has "
                "ended, and its own message says why. What was saved is whole; start all of them "
                "again with the same command to continue"
            ) from error
        return tensor


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes of this training, met before anything is done; parted afterwards.

    Args:
        device: name of the device that the run was told to use.

    Raises:
        ConfigError: what the launcher says of the processes cannot be.
        DreamEnvError: the others could not be met.
    """
    try:
        index, count, local = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers: {error}") from None
    if count == 1:
        yield Processes()
        return
    processes = Processes(index, count, local)
    cuda = processes.device(device).startswith("cuda")
    mine = not dist.is_initialized()
    try:
        if mine:
            dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise DreamEnvError(
            f"process {index} of {count} cannot meet the others ({str(error).splitlines()[0]}); "
            "start all of them with `accelerate launch` or `torchrun`"
        ) from error
    try:
        yield processes
    finally:
        if mine:
            dist.destroy_process_group()
