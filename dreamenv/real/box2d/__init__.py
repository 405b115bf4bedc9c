"""Gymnasium's own CarRacing: a car on a track seen from above, steered by three numbers."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

DISCRETE_ACTIONS = ("noop", "right", "left", "gas", "brake")

_RIGHT, _LEFT, _UP, _DOWN = 1073741903, 1073741904, 1073741906, 1073741905  # pygame's arrows

FAMILY = Family(
    name="box2d",
    extra="dreamenv[box2d]",
    ids=tuple(
        EnvironmentId(
            f"Pixels-CarRacing-{suffix}v3",
            "dreamenv.real.box2d.env:make",
            {"continuous": not suffix},
            1000,
            {"racer:0.1": 0.5, "racer:0.4": 0.3, "sticky:0.8": 0.2},
        )
        for suffix in ("", "Discrete-")
    ),
    owns=lambda env_id: env_id.startswith("Pixels-CarRacing-"),
    policies={"racer": Parametrized("dreamenv.real.box2d.policies:RacingPolicy", "noise")},
    actions=DISCRETE_ACTIONS,
    keys={
        (_RIGHT,): 1,
        (_LEFT,): 2,
        (_UP,): 3,
        (_DOWN,): 4,
    },
)
