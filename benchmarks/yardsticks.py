"""How fast the machine is at the moment of a measurement, so that figures can be compared."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from dreamenv.core.machine import DTYPES, matmul_rates, synchronize


class Yardsticks:
    """Readings of the machine, taken between the measurements that they belong to.

    Args:
        matmul_size: side of the square matrices that are multiplied.
        copied_mebibytes: size of what is copied; more than a core's caches hold.
        device: of the products and copies.
    """

    def __init__(
        self, matmul_size: int = 2048, copied_mebibytes: int = 256, device: str = "cpu"
    ) -> None:
        self.matmul_size, self.device = matmul_size, torch.device(device)
        self.copied_bytes = copied_mebibytes * 2**20
        self.products: dict[str, list[float]] = {name: [] for name in DTYPES}
        self.copies: list[float] = []

    def read(self) -> None:
        """Take one reading of each."""
        for name, rate in matmul_rates(self.matmul_size, self.device).items():
            self.products[name].append(rate)
        self.copies.append(copy_rate(self.copied_bytes, self.device))

    def fresh(self) -> Yardsticks:
        """The same kind without readings."""
        mebibytes = self.copied_bytes // 2**20
        return Yardsticks(self.matmul_size, mebibytes, str(self.device))

    def to_json(self) -> dict[str, Any]:
        """Medians over the readings."""
        return {
            "matmul_gflops": {
                name: statistics.median(rates) for name, rates in self.products.items()
            },
            "copied_gigabytes_per_second": statistics.median(self.copies),
        }


def copy_rate(size: int, device: torch.device) -> float:
    """GB/s, read and written bytes together, of copying `size` bytes; the best of four."""
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    seconds = []
    for _ in range(4):
        synchronize(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size / min(seconds) / 1e9
