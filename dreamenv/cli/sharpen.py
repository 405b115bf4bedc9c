"""`dreamenv sharpen`: train the decoder of a world model on, until its frames are sharp."""

from __future__ import annotations

import sys

from dreamenv.cli import INTERRUPTED
from dreamenv.training.sharpen import SharpenConfig, sharpen_decoder

Options = SharpenConfig


def run(options: SharpenConfig) -> int:
    """Train; a stopped run says how to go on."""
    try:
        folder = sharpen_decoder(options)
    except KeyboardInterrupt:
        print("stopped and saved; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    print(f"the sharpened world model is in {folder}; its trust is not calibrated: dreamenv trust")
    return 0
