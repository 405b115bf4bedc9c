#!/bin/sh
# Run the compiled C's tests with its address and undefined-behaviour sanitizers (GCC, Linux), after
# they have shown that they see a read behind the end of a tensor. Arguments go to pytest, such as
# files; by default all tests of kernels that this processor can run.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
compiler=${CC:-gcc}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

export CC="$compiler -fsanitize=address,undefined -fno-sanitize-recover=all -g1"
# Python itself is not built with them. Its own memory is its own business: leaks are not looked for.
LD_PRELOAD="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libubsan.so)"
export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
export OMP_NUM_THREADS=1 XDG_CACHE_HOME="$folder"

cat > "$folder/behind.c" <<'C'
float behind(const float *numbers, long count) { return numbers[count]; }
C
$CC -shared -fPIC -o "$folder/behind.so" "$folder/behind.c"
cat > "$folder/behind.py" <<'PY'
import ctypes
import sys

import torch

library = ctypes.CDLL(sys.argv[1])
library.behind.argtypes = ctypes.c_void_p, ctypes.c_long
library.behind.restype = ctypes.c_float
numbers = torch.zeros(64)
assert library.behind(numbers.data_ptr(), 63) == 0
print("inside is allowed", flush=True)
library.behind(numbers.data_ptr(), 64)
PY
if "$python" "$folder/behind.py" "$folder/behind.so" > "$folder/told" 2>&1; then
    echo "error: the sanitizers did not see a read behind the end of a tensor" >&2
    exit 1
fi
if ! grep -q 'inside is allowed' "$folder/told" || ! grep -q heap-buffer-overflow "$folder/told"; then
    cat "$folder/told" >&2
    echo "error: the sanitizers do not work here" >&2
    exit 1
fi

if [ $# -eq 0 ]; then
    set -- tests/world_model/runtime/test_cpu_kernels.py \
        tests/world_model/runtime/test_training_kernels.py \
        tests/world_model/runtime/test_workspaces.py
fi
exec "$python" -m pytest -q -n 0 -p no:cacheprovider -o timeout=7200 "$@"
