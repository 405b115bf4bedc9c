"""Atari 2600 games, through the Arcade Learning Environment."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

GAMES: dict[str, dict[str, object]] = {
    "Pong": {"rows": (34, 194)},
    "Breakout": {"rows": (32, 196), "end_on_life_loss": True},
    "Freeway": {},
    "MsPacman": {"end_on_life_loss": True},
    "Seaquest": {"end_on_life_loss": True},
}
"""Game → arguments: rows of the picture that are played on, and whether a life is an episode."""
PADDLE = {"paddle:0.05": 0.4, "paddle:0.2": 0.4, "sticky:0.7": 0.2}
STEPS = 2000
"""Steps of an episode, of four frames each."""

_RIGHT, _LEFT, _UP, _DOWN = 1073741903, 1073741904, 1073741906, 1073741905  # pygame's arrows

FAMILY = Family(
    name="atari",
    extra="dreamenv[atari]",
    ids=tuple(
        EnvironmentId(
            f"Pixels-{name}-v5",
            "dreamenv.real.atari.env:make",
            {"game": f"ALE/{name}-v5", **arguments},
            STEPS,
            PADDLE if name in ("Pong", "Breakout") else {},
        )
        for name, arguments in GAMES.items()
    ),
    owns=lambda env_id: env_id in {f"Pixels-{name}-v5" for name in GAMES},
    policies={"paddle": Parametrized("dreamenv.real.atari.policies:Paddle", "noise")},
    # Of Pong; other games have others, which the environment names.
    actions=("noop", "fire", "right", "left", "rightfire", "leftfire"),
    keys={(_RIGHT,): 2, (_UP,): 2, (_LEFT,): 3, (_DOWN,): 3, (ord(" "),): 1},
)
