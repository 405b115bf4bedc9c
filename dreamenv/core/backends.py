"""Where workers run: as processes of this machine, or on a cluster of machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dreamenv.core.errors import ConfigError
from dreamenv.core.worker_pool import Staff
from dreamenv.core.worker_process import Make, Processes


@dataclass(frozen=True)
class Backend:
    """Where workers run; what they make is the same everywhere.

    Raises:
        ConfigError: an address without a cluster.
    """

    backend: Literal["local", "ray"] = "local"
    """Where workers run: local, on this machine; ray, on a Ray cluster (dreamenv[ray])."""
    address: str = ""
    """HOST:PORT of the Ray cluster; by default that of RAY_ADDRESS, or one on this machine."""

    def __post_init__(self) -> None:
        if self.address and self.backend != "ray":
            raise ConfigError(f"the address {self.address} is of no use without --backend ray")

    @property
    def is_local(self) -> bool:
        """Whether workers share this machine, its files and its cores."""
        return self.backend == "local"

    def staff(self, make: Make, patience: float, cpus: int = 1, gpus: float = 0.0) -> Staff:
        """What makes the workers of a pool.

        Args:
            make: makes what lives in each.
            patience: seconds that they have to come to an end when their parent is gone.
            cpus: cores of each, as many as numerical libraries take.
            gpus: of each, in a cluster.

        Raises:
            MissingDependencyError: Ray is not installed.
        """
        if self.is_local:
            return Processes(make, patience, cpus)
        from dreamenv.core.ray import RayStaff

        return RayStaff(make, self.address, patience, cpus, gpus)


LOCAL = Backend()
