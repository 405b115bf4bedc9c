"""What commands print reaches every terminal."""

from __future__ import annotations

import sys


def print_anywhere() -> None:
    """Print characters that the terminal's encoding lacks as "?", for the rest of this process.

    In the C locale, or one of GBK, an arrow in a last line would otherwise end a run of hours with
    a UnicodeEncodeError.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # others were put there by someone who knows better
            stream.reconfigure(errors="replace")
