"""How published video models are scored: frames watched, frames imagined, and which frames."""

from __future__ import annotations

from dataclasses import dataclass

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.evaluation.metrics.open_loop import CONTEXT, HORIZON
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.thinning import every_of


@dataclass(frozen=True)
class Protocol:
    """An open-loop evaluation: a model watches, then imagines under the recorded actions."""

    context: int
    """Frames watched."""
    horizon: int
    """Frames imagined."""
    every: int = 1
    """Steps of the environment from one frame to the next; its actions are stacked."""


PROTOCOLS = {
    "short": Protocol(CONTEXT, HORIZON),
    "dfot": Protocol(100, 50, every=2),
    "teco": Protocol(144, 156),
}
"""`dfot`: of Diffusion Forcing Transformers on Minecraft, which the paper takes over. `teco`: of
TECO, on Minecraft and DMLab. Both on whole trajectories of 300 frames."""


def protocol_of(name: str, store: RolloutStore) -> Protocol:
    """A protocol by its name, for rollouts that can be scored by it.

    Raises:
        ConfigError: there is no such protocol.
        RolloutError: the store has other frames than every k-th, as the protocol needs them.
    """
    protocol = PROTOCOLS.get(name)
    if protocol is None:
        raise ConfigError(f"the protocols are {', '.join(PROTOCOLS)}, not {name!r}")
    every = every_of(store.metadata)
    if every != protocol.every:
        raise RolloutError(
            f"the protocol {name!r} is of frames {protocol.every} steps apart, and those of "
            f"{store.path} are {every} apart; import the data anew with --every {protocol.every}, "
            f"or collect with --env-kwargs every={protocol.every}, to train on as well"
        )
    return protocol
