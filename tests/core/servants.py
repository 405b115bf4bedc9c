"""What lives in workers of tests; imported by their processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from dreamenv.core.errors import ConfigError
from dreamenv.core.worker_process import Note


class Clerk:
    """Does what a task says: (what, argument)."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def told(self) -> str:
        return "a clerk"

    def do(self, task: tuple[str, Any]) -> Any:
        what, argument = task
        self._note(7, 3)
        if what == "double":
            return 2 * argument
        if what == "die":
            os._exit(9)
        if what == "die once":  # the argument is a file
            if Path(argument).exists():
                return "done again"
            Path(argument).touch()
            os._exit(9)
        if what == "sleep":
            time.sleep(argument)
        if what == "foreign":
            return [][argument]
        raise ConfigError(f"there is no {what}")

    def close(self) -> None:
        pass


class Stillborn:
    """Its process dies before it is made."""

    def __init__(self, note: Note) -> None:
        os._exit(9)
