"""An environment's process that is gone is known by whatever its pipe raises."""

from __future__ import annotations

import multiprocessing
import os
import struct
import sys

import pytest

from dreamenv.core.environment_ids import worker_died


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
@pytest.mark.parametrize("spoke", [b"", struct.pack("!i", 1000) + b"half of a message"])
def test_a_process_that_is_gone_is_known_also_if_it_was_speaking(spoke: bytes) -> None:
    here, there = multiprocessing.Pipe()
    os.write(there.fileno(), spoke)
    there.close()
    with pytest.raises((EOFError, OSError)) as caught:
        here.recv()
    assert worker_died(caught.value)
    assert not worker_died(OSError(28, "No space left on device"))
