"""The provenance of episodes that were not recorded by this library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """The data set an episode was taken from, and which one of its episodes it is."""

    source: str
    """Name, file or address of the data set."""
    episode: str = ""
    """Number, name or file of the episode in it."""

    def to_plain(self) -> dict[str, str]:
        """The provenance as plain data, as a store keeps it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any) -> Provenance:
        """The inverse of `to_plain`.

        Raises:
            ValueError: it did not give this.
        """
        try:
            made = cls(**plain)
        except TypeError as error:
            raise ValueError("this is no provenance") from error
        if not all(type(text) is str for text in (made.source, made.episode)):
            raise ValueError("this is no provenance")
        return made
