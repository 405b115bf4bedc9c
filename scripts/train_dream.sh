#!/bin/sh
# The long run: give the bundled weights a landmark memory and twenty times the frames. Run from the
# checkout, after `make setup`; run it again to go on where it stopped. SIGTERM (or Ctrl-C) saves.
#
#   sh scripts/train_dream.sh                                  # one core collects, one trains: days
#   WORKERS=16 BATCH=48 UPDATES=30000 DEVICE=cuda FROM= sh scripts/train_dream.sh       # a GPU
#
# A run that is to outlast changes of the checkout should have a clone of its own. Rollouts that are
# added later are encoded and trained on when the run is continued.
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
ROOT=${ROOT:-runs/dream}
FRAMES=${FRAMES:-2000000} HELD_OUT=${HELD_OUT:-40000}
WORKERS=${WORKERS:-1} BATCH=${BATCH:-6} WINDOW=${WINDOW:-48} UPDATES=${UPDATES:-20000}
DEVICE=${DEVICE:-auto} THREADS=${THREADS:-1}
FROM=${FROM-bundled:memory_maze_9x9}  # weights to begin with; empty: new ones, tokenizer and all
export MUJOCO_GL="${MUJOCO_GL:-egl}" OMP_NUM_THREADS="$THREADS"

collect() { # frames, seed, steps of an episode, folder
    "$PYTHON" -m dreamenv collect --env MemoryMaze-9x9-ExtraObs-v0 --frames "$1" --seed "$2" \
        --max-episode-steps "$3" --out "$4" --workers "$WORKERS" \
        --policy out_and_back=0.15 out_and_back:0.05=0.15 goal=0.2 goal:0.5=0.1 wandering=0.25 \
        sticky=0.15 \
        --record-info agent_pos agent_dir maze_layout targets_pos target_pos
}
collect "$HELD_OUT" 900000000 1000 "$ROOT/held_out"
collect "$FRAMES" 0 500 "$ROOT/train"
"$PYTHON" -m dreamenv train --data "$ROOT/train" --held-out "$ROOT/held_out" --out "$ROOT/model" \
    --latents "$ROOT/latents" ${FROM:+--weights-from "$FROM"} --device "$DEVICE" \
    --threads "$THREADS" --architecture dynamics.landmarks.count=384 sampler.steps=4 \
    --window "$WINDOW" --dynamics.steps "$UPDATES" --dynamics.batch "$BATCH" \
    --dynamics.warmup 30 --dynamics.decay 0.3 --dynamics.ema 0.995 --dynamics.learning-rate 1.2e-3 \
    --objective.level-grid 4 --objective.self-forcing 0.17 --self-forcing-from 0 \
    --objective.landmark-share 0.5 --objective.landmark-weight 0.5 \
    --evaluate-every 250 --checkpoint-every 50 --log-every 10

# What the tokens cannot say is drawn in the style of the real frames; then it is bundled.
"$PYTHON" -m dreamenv sharpen --checkpoint "$ROOT/model" --data "$ROOT/train" \
    --held-out "$ROOT/held_out" --out "$ROOT/sharp" --device "$DEVICE" --threads "$THREADS" \
    --decoder.steps "${DECODER_UPDATES:-3600}" --adversary 0.04 --log-every 50
bundle="$PYTHON -m scripts.bundle_checkpoint ${OUT:=dreamenv/checkpoints/memory_maze_9x9}"
$bundle --runs "$ROOT/model" "$ROOT/sharp" --starts "$ROOT/train" --rollouts "$ROOT/held_out"
"$PYTHON" -m benchmarks.open_loop --checkpoint "$OUT" --rollouts "$ROOT/held_out" --steps 4 2 1
$bundle --runs "$ROOT/model" "$ROOT/sharp" --card
