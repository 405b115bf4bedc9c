"""`python -m dreamenv` is the `dreamenv` command."""

from __future__ import annotations

import sys

from dreamenv.cli import main

if __name__ == "__main__":
    sys.exit(main())
