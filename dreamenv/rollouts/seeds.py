"""The seeds of a collection's episodes: every store is a stream of its own.

A stream begins at a place among the 2**31 reset seeds that its number decides, and goes on from
there one by one, so no store repeats an episode. Two ways of placing streams:

    "spread"  The number's 31 bits are reversed. Streams below 2**k are then 2**(31-k) apart: those
              below 2048 share no episode before each has a million.
    "hashed"  A hash of the number. Two streams meet by chance only, but nothing rules it out.
              Stores from before there was "spread" do not say so, and are continued this way.

Neither is near 0, where seeds lie that people choose by hand, such as those agents are scored on.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import numpy as np

from dreamenv.core.errors import RolloutError

SEED_BITS = 31
SEED_RANGE = 2**SEED_BITS
SPREAD, HASHED = "spread", "hashed"
# Where stream 0 begins. The streams below 2048 are 2**20 apart, so the last of them, which comes
# before 0, reaches it after 363,739 episodes.
_OFFSET = 684_837


def episode_seed(stream: int, index: int, placing: str = SPREAD) -> int:
    """Reset seed, in [0, 2**31), of episode `index` of a stream.

    Raises:
        RolloutError: streams are placed in a way that this dreamenv does not know.
    """
    if placing == SPREAD:
        base = _OFFSET + int(f"{stream:0{SEED_BITS}b}"[::-1], 2)
    elif placing == HASHED:
        base = int(np.random.SeedSequence(stream).generate_state(1)[0])
    else:
        raise RolloutError(
            f"episodes are seeded in a way called {placing!r}, which this dreamenv does not know; "
            "install the dreamenv that began the collection"
        )
    return (base + index) % SEED_RANGE


def fresh_stream() -> int:
    """A stream that nobody chose, so most likely nobody else has."""
    return secrets.randbelow(SEED_RANGE)


def draw_policy(policies: Mapping[str, float], seed: int) -> tuple[str, int]:
    """Choose an episode's policy by weight, and the seed of its actions, from the reset seed."""
    rng = np.random.default_rng([seed, 1])
    weights = np.array(list(policies.values()), np.float64)
    name = list(policies)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    return name, int(rng.integers(SEED_RANGE))
