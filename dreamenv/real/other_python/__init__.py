"""Environments that need a Python of their own: of the old Gym API, or with pins that clash.

`OtherPython-v0` serves any environment that another interpreter can make:

    dreamenv collect --env OtherPython-v0 --env-kwargs python=old/venv game=my_module:MyEnv-v0 ...
"""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family

FAMILY = Family(
    name="other_python",
    extra="dreamenv",
    ids=(
        EnvironmentId(
            "OtherPython-v0", "dreamenv.real.other_python.env:OtherPythonEnv", {"game": ""}
        ),
    ),
    owns=lambda env_id: env_id == "OtherPython-v0",
)
