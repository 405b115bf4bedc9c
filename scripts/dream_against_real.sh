#!/bin/sh
# An agent of the dream against one of the real maze: both learn for the same time, one core each,
# then the gap report scores them. Run from the checkout, after `make setup`.
#
#   HELD_OUT=rollouts/held_out sh scripts/dream_against_real.sh    # an hour on two cores
#
# HELD_OUT is a store of episodes that the world model was not trained on:
#   python -m dreamenv collect --env MemoryMaze-9x9-v0 --frames 30000 --seed 2000 \
#       --policy goal=0.25 goal:0.5=0.2 wandering=0.35 sticky=0.15 uniform=0.05 \
#       --max-episode-steps 500 --workers 2 --out rollouts/held_out
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-runs/dream_against_real}
HELD_OUT=${HELD_OUT:-rollouts/held_out}
MINUTES=${MINUTES:-15} RECURRENT_MINUTES=${RECURRENT_MINUTES:-12} EPISODES=${EPISODES:-16}
export MUJOCO_GL="${MUJOCO_GL:-egl}" OMP_NUM_THREADS=1

train() { # minutes, core, recipe, out
    # What was saved last stands when the time is over, whatever the agent was doing.
    taskset -c "$2" timeout "$1m" "$PYTHON" "agents/$3.py" --out "$4" || [ $? = 124 ]
}
train "$MINUTES" 0 ppo_memory_9x9 "$OUT/dream" &
train "$MINUTES" 1 ppo_memory_real "$OUT/real"
wait
train "$RECURRENT_MINUTES" 1 recurrent_ppo_frames "$OUT/recurrent"

"$PYTHON" -m dreamenv gap --agents "$OUT/dream" random \
    --real MemoryMaze-9x9-v0 --out "$OUT/gap" \
    --rollouts "$HELD_OUT" --near-rewards 0.5 --spawns 48 --horizon 32 --clips 48 \
    --clip-horizon 24 --dream-kwargs reward=expected --workers 2 \
    --population sticky:0.9 forward:0.6 wall seek "$OUT"/dream/kept/*.safetensors "$OUT"/real/kept/*.safetensors \
    "$OUT/recurrent" \
    --transfer dream_time="$OUT/dream" real_time="$OUT/real" \
    --transfer-real MemoryMaze-7x7-v0 MemoryMaze-9x9-v0 --real-episodes "$EPISODES" \
    --real-horizon 500
