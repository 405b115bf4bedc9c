#!/bin/sh
# Make the bundled checkpoint from nothing: collect, train, measure, bundle. Run from the checkout,
# after `make setup`; run it again to go on where it stopped.
#
#   sh scripts/train_bundled.sh                                       # 2 CPU cores, hours
#   PRESET=base FRAMES=1000000 WORKERS=16 BATCH=32 UPDATES=60000 WINDOW=64 \
#       sh scripts/train_bundled.sh                                   # a GPU machine of 16 cores
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
ROOT=${ROOT:-runs/bundled}
PRESET=${PRESET:-small} FRAMES=${FRAMES:-300000} HELD_OUT=${HELD_OUT:-30000}
WORKERS=${WORKERS:-2} BATCH=${BATCH:-6} WINDOW=${WINDOW:-48}
TOKENIZER_UPDATES=${TOKENIZER_UPDATES:-6000} UPDATES=${UPDATES:-6000} CLIPS=${CLIPS:-256}
OUT=${OUT:-dreamenv/checkpoints/memory_maze_9x9}
export MUJOCO_GL="${MUJOCO_GL:-egl}"

collect() { # frames, seed, folder
    "$PYTHON" -m dreamenv collect --env MemoryMaze-9x9-v0 --frames "$1" --seed "$2" --out "$3" \
        --policy goal=0.25 goal:0.5=0.2 wandering=0.35 sticky=0.15 uniform=0.05 \
        --workers "$WORKERS" --max-episode-steps 500
}
collect "$FRAMES" 0 "$ROOT/train"
collect "$HELD_OUT" 2000 "$ROOT/held_out"
# The last third of the updates trains on memories that the model itself has written.
"$PYTHON" -m dreamenv train --preset "$PRESET" --data "$ROOT/train" --held-out "$ROOT/held_out" \
    --out "$ROOT/model" --window "$WINDOW" \
    --tokenizer.steps "$TOKENIZER_UPDATES" --tokenizer.batch 32 --tokenizer.learning-rate 1.5e-3 \
    --dynamics.steps "$UPDATES" --dynamics.batch "$BATCH" --dynamics.learning-rate 1.5e-3 \
    --objective.self-forcing 0.5 --self-forcing-from 0.4 --objective.pure-noise 0.75
"$PYTHON" -m scripts.bundle_checkpoint "$OUT" --runs "$ROOT/model" --steps "${STEPS:-1}" \
    --starts "$ROOT/train" --rollouts "$ROOT/held_out"
"$PYTHON" -m benchmarks.open_loop --checkpoint "$OUT" --rollouts "$ROOT/held_out" --clips "$CLIPS"
"$PYTHON" -m scripts.bundle_checkpoint "$OUT" --runs "$ROOT/model" --card
