"""MineRL's environments as Gymnasium's, and what to do where a part of the game is missing."""

from __future__ import annotations

import os
import re
from typing import Any

import gymnasium

from dreamenv.core.errors import ConfigError, MissingDependencyError
from dreamenv.real.minecraft.actions import WalkActions
from dreamenv.real.other_python.env import OtherPythonEnv
from dreamenv.real.other_python.process import GRACE
from dreamenv.real.stacked_steps import StackedSteps

PYTHON = "DREAMENV_MINERL_PYTHON"
"""Environment variable that names the interpreter where `python` does not."""
RESET_SECONDS = 1800.0
"""A first start builds the game; on a slow machine that takes minutes."""
TICKS = 20
"""A second. MineRL's server ends an episode by its own clock, about when the steps are over."""

CAUSES = (
    (
        r"no 'java' command|java: (command )?not found|JAVA_HOME is (not set|set to an invalid)"
        r"|Unable to locate a Java|No such file or directory: 'java'|javac: (command )?not found",
        "Java is missing: install a JDK 8 (such as openjdk-8-jdk) and set JAVA_HOME to its folder",
    ),
    (
        r"Could not determine java version|Unsupported class file|UnsupportedClassVersion"
        r"|Unsupported major.minor|has been compiled by a more recent version of the Java",
        "this Java is another than the JDK 8 that Minecraft is built with: install one (such as "
        "openjdk-8-jdk) and set JAVA_HOME to its folder",
    ),
    (
        r"UnknownHostException: (?P<host>[\w.-]+)|Could not resolve (?P<what>\S+)"
        r"|Could not (GET|HEAD)|Could not download|Network is unreachable"
        r"|Connection (timed out|refused)",
        "the game is not there and cannot be fetched{what}: MineRL builds it at its first start "
        "from Gradle's, Mojang's and Forge's servers; start it once where they can be reached",
    ),
    (
        r"X Server|lwjgl.opengl.Display|HeadlessException|GLX13|LWJGLException|libGL|OpenGL",
        "Minecraft finds no screen with OpenGL: put `xvfb-run -a` in front of the command, with "
        "Mesa's software renderer installed",
    ),
    (
        r"No such file or directory: .*(launchClient|Malmo|MCP-Reborn|Minecraft)"
        r"|Minecraft process finished unexpectedly|Minecraft did not start",
        'the game did not start; to see all of its log run, with that Python, `python -c "import '
        "gym, minerl; gym.make('{game}').reset()\"`",
    ),
)
"""What a failure says, as MineRL, Gradle and Minecraft write it → what to do."""


def make(
    game: str,
    python: str = "",
    actions: str = "all",
    every: int = 1,
    arguments: dict[str, Any] | None = None,
    path: list[str] | None = None,
    step_seconds: float = 300.0,
    reset_seconds: float = RESET_SECONDS,
    grace: float = GRACE,
    render_mode: str | None = None,
) -> gymnasium.Env[Any, Any]:
    """A task of MineRL 0.4 or 1.0, in the Python that has MineRL.

    Observations: a Dict with `pov` (H, W, 3) uint8 and what else the task shows. Actions: MineRL's
    own Dict, `camera` [pitch, yaw] in degrees a tick of 50 ms, keys `Discrete(2)`, choices such as
    `place` numbered in the order of `env.unwrapped.names`; or those of `WalkActions`.

    Args:
        game: MineRL's id; "module:Id-v0" for one that another module registers.
        python: interpreter that has MineRL, or its virtual environment's folder; "" for that of
            DREAMENV_MINERL_PYTHON, or this one.
        actions: "all", or "walk": forward, left and right with turns of 20 degrees.
        every: steps at once, with a tuple of as many actions (`StackedSteps`).
        arguments: of MineRL's environment.
        path: folders to import from.
        step_seconds: that a step may take.
        reset_seconds: that a start or a reset may take.
        grace: seconds that the game has to close.
        render_mode: None or "rgb_array".

    Raises:
        MissingDependencyError: MineRL, Java or the game is missing; says what to do.
        ConfigError: there is no such task, interpreter or set of actions.
    """
    if actions not in ("all", "walk"):
        raise ConfigError(f"actions are 'all' or 'walk', not {actions!r}")
    if not game:
        raise ConfigError("name MineRL's environment: --env-kwargs game=MineRLTreechop-v0")
    env = MineRLEnv(
        game if ":" in game else f"minerl:{game}",
        python or os.environ.get(PYTHON, ""),
        arguments,
        path,
        alone=True,  # MineRL writes logs where it stands
        step_seconds=step_seconds,
        reset_seconds=reset_seconds,
        grace=grace,
        spare=TICKS,
        render_mode=render_mode,
    )
    try:
        taken = WalkActions(env) if actions == "walk" else env
        return taken if every == 1 else StackedSteps(taken, every)
    except ConfigError:
        env.close()
        raise


class MineRLEnv(OtherPythonEnv):
    """An environment of MineRL; its failures say what to install."""

    def _raised(self, do: str, error: dict[str, Any]) -> Exception:
        assert self._process is not None
        if do == "make" and "ImportError" in error.get("kinds", ()):
            return MissingDependencyError(
                f"MineRL is not installed in {self._process.python}: {error.get('text')}. It needs "
                "an environment of its own, with `pip install 'minerl>=0.4.4,<0.5'` and Java 8; "
                f"then name its Python: --env-kwargs python=PATH, or {PYTHON}=PATH",
                name=error.get("module"),
            )
        told = f"{error.get('text')}\n{self._process.said()}"
        for pattern, advice in CAUSES:
            if found := re.search(pattern, told):
                hosts = [each for each in found.groupdict().values() if each]
                place = f" ({hosts[0]})" if hosts else ""
                game = self.game.rpartition(":")[2]
                return MissingDependencyError(
                    f"{game} cannot start: {advice.format(what=place, game=game)}"
                )
        return super()._raised(do, error)

    def _info(self, told: dict[str, Any]) -> dict[str, Any]:
        info = super()._info(told)
        if "error" in info:
            # MineRL ends the episode then, with a random observation that nobody saw.
            raise self._failed("step", f"MineRL says {info['error']!r}")
        return info
