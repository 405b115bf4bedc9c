"""The provenance of episodes that were not recorded by this library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """The data set an episode was taken from, and which one of its episodes it is."""

    source: str
    """Name, file or address of the data set."""
    episode: str = ""
    """Number, name or file of the episode in it."""
    before: Provenance | None = None
    """Where that data set says that it took the episode from, if it does."""

    def to_plain(self) -> dict[str, Any]:
        """The provenance as plain data, as a store keeps it."""
        plain = {"source": self.source, "episode": self.episode}
        return plain if self.before is None else {**plain, "before": self.before.to_plain()}

    @classmethod
    def from_plain(cls, plain: Any) -> Provenance:
        """The inverse of `to_plain`.

        Raises:
            ValueError: it did not give this.
        """
        try:
            before = cls.from_plain(plain["before"]) if "before" in plain else None
            made = cls(**{**plain, "before": before})
        except TypeError as error:
            raise ValueError("this is no provenance") from error
        if not all(type(text) is str for text in (made.source, made.episode)):
            raise ValueError("this is no provenance")
        return made
