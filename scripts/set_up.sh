#!/bin/sh
# Make .venv from constraints.txt, with dreamenv installed from this checkout. `make setup` calls
# it. System packages that are missing are installed when run by root, else named in one line.
set -eu
cd "$(dirname "$0")/.."

stop() {
    echo "error: $1" >&2
    exit 1
}

find_python() {
    # Memory Maze's labmaze has no build for Python 3.13 or later.
    for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

missing_system_packages() {
    # Debian keeps part of the venv module, ensurepip, in a package of its own.
    "$python" -c 'import ensurepip' 2>/dev/null ||
        "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    if [ "$(uname -s)" = Linux ]; then
        for library in libEGL.so.1:libegl1 libGL.so.1:libgl1 libGLESv2.so.2:libgles2; do
            "$python" -c "import ctypes; ctypes.CDLL('${library%:*}')" 2>/dev/null ||
                echo "${library#*:}"
        done
    fi
}

python=$(find_python)
[ -n "$python" ] || stop "no Python 3.11 or 3.12 found: install one (on Debian 12: \
apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.11"

missing=$(missing_system_packages | tr '\n' ' ')
if [ -n "$missing" ]; then
    install="apt-get install --no-install-recommends $missing"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stop "system packages are missing; as root: $install"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    $install --yes
fi

# Without --clear: this also repairs a .venv whose creation was interrupted.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv

# The build backend comes first and isolation is off, so that builds use pinned versions too.
install=".venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt"
$install setuptools
$install --no-build-isolation --editable '.[memory-maze,agents,hub,play,dev]'
