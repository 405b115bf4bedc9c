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

train() { # minutes, core, out, then the rest of the command
    minutes=$1 core=$2 out=$3
    shift 3
    # What was saved last stands when the time is over, whatever the agent was doing.
    taskset -c "$core" timeout "${minutes}m" "$PYTHON" train_agent.py --out "$out" \
        --steps 400000 --save-every 4000 --keep-every 20000 --eval-every 0 --threads 1 "$@" ||
        [ $? = 124 ]
}
SAME="batch_size=512 learning_rate=3e-4 gamma=0.97 net_width=256 ent_coef=0.02"
# shellcheck disable=SC2086  # SAME is several words
train "$MINUTES" 0 "$OUT/dream" --env DreamEnv-MemoryMaze-v0 --num-envs 32 \
    --env-kwargs observation=memory reward=expected --only-memory --hyperparameters n_steps=64 $SAME &
# shellcheck disable=SC2086
train "$MINUTES" 1 "$OUT/real" --env MemoryMaze-9x9-v0 --num-envs 8 \
    --memory-from bundled:memory_maze_9x9 --only-memory --hyperparameters n_steps=256 $SAME
wait
train "$RECURRENT_MINUTES" 1 "$OUT/recurrent" --algo recurrent_ppo --env DreamEnv-MemoryMaze-v0 \
    --env-kwargs reward=expected --num-envs 16 --hyperparameters gamma=0.97 ent_coef=0.02

"$PYTHON" -m dreamenv gap --agents "$OUT/dream" random --trust-agent \
    --real MemoryMaze-9x9-v0 --out "$OUT/gap" \
    --rollouts "$HELD_OUT" --near-rewards 0.5 --spawns 48 --horizon 32 --clips 48 \
    --clip-horizon 24 --dream-kwargs reward=expected --workers 2 \
    --population sticky:0.9 forward:0.6 wall seek "$OUT"/dream/kept/*.zip "$OUT"/real/kept/*.zip \
    "$OUT/recurrent" \
    --transfer dream_time="$OUT/dream" real_time="$OUT/real" \
    --transfer-real MemoryMaze-7x7-v0 MemoryMaze-9x9-v0 --real-episodes "$EPISODES" \
    --real-horizon 500
