"""One process of a tiny training: `python one_of_several.py OUT STORE CHANGES STAGE UPDATE`.

It kills itself in the middle of an update of a stage, if one is named.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "rollouts")]

import torch  # noqa: E402

from dreamenv.core.errors import DreamEnvError  # noqa: E402
from dreamenv.training import stages  # noqa: E402
from dreamenv.training.loop import Stage  # noqa: E402
from dreamenv.training.train import train_world_model  # noqa: E402
from tests.training.conftest import small_run  # noqa: E402

out, store, changes, stage, update = sys.argv[1:]
original = Stage._update


def dying(self: Stage, batches: Any) -> Any:
    """An update after which nothing runs."""
    result = original(self, batches)
    if (self.name, self.step) == (stage, int(update)):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


Stage._update = dying  # type: ignore[method-assign]
stages.open_loop_metrics = lambda *_: {}
torch.set_num_threads(1)
try:
    train_world_model(small_run(Path(out), Path(store), **json.loads(changes)))
except DreamEnvError as error:
    sys.exit(f"{type(error).__name__}: {error}")
