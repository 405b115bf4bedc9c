#!/bin/sh
# Teach the bundled checkpoint shortcuts (dreams of 8, 4, 2 or 1 passes), and measure every K. Run
# from the checkout, after `scripts/train_bundled.sh` has collected; run it again to go on.
# 900 updates took about an hour and a half on one CPU core, `--compile` included.
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
ROOT=${ROOT:-runs/bundled} OUT=${OUT:-runs/shortcut}
UPDATES=${UPDATES:-900} BATCH=${BATCH:-6} WINDOW=${WINDOW:-48} CLIPS=${CLIPS:-256}

OMP_NUM_THREADS=1 "$PYTHON" -m dreamenv train --data "$ROOT/train" --held-out "$ROOT/held_out" \
    --out "$OUT" --weights-from bundled:memory_maze_9x9 --shortcut-passes 8 --shortcut-from 0.15 \
    --window "$WINDOW" --threads 1 --compile \
    --dynamics.steps "$UPDATES" --dynamics.batch "$BATCH" --dynamics.learning-rate 6e-4 \
    --dynamics.warmup 30 --dynamics.decay 1.0 --dynamics.ema 0.99 \
    --objective.self-forcing 0.5 --self-forcing-from 0 --objective.pure-noise 0.5 \
    --objective.shortcut 0.33 --objective.reward-weight 0.5 \
    --evaluate-every 100 --checkpoint-every 50 --log-every 10
"$PYTHON" -m benchmarks.open_loop --checkpoint "$OUT" --rollouts "$ROOT/held_out" \
    --clips "$CLIPS" --dtype bfloat16 --steps 8 4 2 1 \
    --out docs/results/open_loop_shortcut.json --picture "$OUT/real_above_dreamt.png"
