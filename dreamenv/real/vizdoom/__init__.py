"""VizDoom: Doom as an environment, with many scenarios.

`MyWayHome` asks for memory: rooms with walls of many textures, and a vest to be found again.
"""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

FRAME_SKIP = 4
"""Tics, of which Doom has 35 a second, that an action lasts."""
SCENARIOS = {"MyWayHome": 525, "HealthGathering": 525}
"""Scenario → steps of an episode, as its own time limit has them. Both turn and walk; others of
other buttons are made with `game`."""
BUTTONS = ("turn_left", "turn_right", "move_forward")
HOMING = {"homing:0.02": 0.5, "homing:0.1": 0.3, "sticky:0.8": 0.2}
ACTIONS = ("noop", *BUTTONS)

_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906  # pygame's codes of the arrows

FAMILY = Family(
    name="vizdoom",
    extra="dreamenv[vizdoom]",
    ids=tuple(
        EnvironmentId(
            f"Pixels-Vizdoom{name}-v1",
            "dreamenv.real.vizdoom.env:make",
            {"game": f"Vizdoom{name}-v1", "buttons": BUTTONS},
            steps,
            HOMING,
        )
        for name, steps in SCENARIOS.items()
    ),
    owns=lambda env_id: env_id.startswith("Pixels-Vizdoom"),
    policies={"homing": Parametrized("dreamenv.real.vizdoom.policies:HomingPolicy", "noise")},
    actions=ACTIONS,
    turning=("turn_left", "turn_right", "noop"),
    keys={(_LEFT,): 1, (_RIGHT,): 2, (_UP,): 3, (ord("a"),): 1, (ord("d"),): 2, (ord("w"),): 3},
    pose=("agent_pos", "agent_dir"),
    with_pose="Pixels-VizdoomMyWayHome-v1",
)
