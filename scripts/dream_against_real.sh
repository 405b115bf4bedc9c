#!/bin/sh
# Agents of the dream, one for each seed, and the gap report of them: places in both worlds, and whole
# episodes of the real maze. Run from the checkout, after `make setup`; run it again to go on.
#
#   HELD_OUT=runs/held_out sh scripts/dream_against_real.sh    # an hour on two cores
#
# HELD_OUT is a store of episodes that the world model was not trained on (scripts/train_dream.sh).
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-runs/agents}
HELD_OUT=${HELD_OUT:-runs/held_out}
SEEDS=${SEEDS:-0 1 2 3 4} EPISODES=${EPISODES:-12}
export MUJOCO_GL="${MUJOCO_GL:-egl}" OMP_NUM_THREADS=1

contenders=
for seed in $SEEDS; do
    "$PYTHON" agents/ppo_memory_9x9.py --seed "$seed" --resume --out "$OUT/dream_$seed"
    contenders="$contenders dream=$OUT/dream_$seed"
done
set -- $SEEDS
"$PYTHON" -m dreamenv gap --agents "$OUT/dream_$1" random \
    --real MemoryMaze-9x9-v0 --out "${GAP:-runs/gap}" \
    --rollouts "$HELD_OUT" --near-rewards 0.5 --spawns 32 --horizon 64 --clips 32 \
    --clip-horizon 24 --dream-kwargs reward=expected --workers "${WORKERS:-2}" \
    --population sticky:0.9 forward:0.6 wall seek "$OUT/dream_$1"/kept/step_0000[1-4]* \
    "$OUT"/dream_[!"$1"] --transfer $contenders random=random --transfer-real MemoryMaze-9x9-v0 \
    --real-episodes "$EPISODES" --real-horizon 1000
