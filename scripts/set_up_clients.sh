#!/bin/sh
# Make .venv-clients: other people's libraries, pinned in benchmarks/clients/requirements.txt, beside
# what .venv holds. `make clients` calls it.
set -eu
cd "$(dirname "$0")/.."
packages='import sysconfig; print(sysconfig.get_path("purelib"))'

.venv/bin/python -m venv .venv-clients
.venv/bin/python -c "$packages" >"$(.venv-clients/bin/python -c "$packages")/developers.pth"
.venv-clients/bin/python -m pip install --disable-pip-version-check --no-deps \
    --requirement benchmarks/clients/requirements.txt
