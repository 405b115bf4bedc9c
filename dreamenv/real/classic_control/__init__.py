"""Gymnasium's own CartPole, seen: its observation is four numbers, its picture is rendered."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

ACTIONS = ("left", "right")

FAMILY = Family(
    name="classic_control",
    extra="dreamenv[play]",
    ids=(
        EnvironmentId(
            "Pixels-CartPole-v1",
            "dreamenv.real.classic_control.env:make",
            {},
            500,
            {"balance:0.05": 0.4, "balance:0.3": 0.3, "sticky:0.5": 0.3},
        ),
    ),
    owns=lambda env_id: env_id.startswith("Pixels-CartPole-"),
    policies={"balance": Parametrized("dreamenv.real.classic_control.policies:Balance", "noise")},
    actions=ACTIONS,
)
