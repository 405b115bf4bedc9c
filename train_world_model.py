"""Train a world model on rollouts: the same as `dreamenv train`.

    python train_world_model.py --data rollouts/train --held-out rollouts/held_out --out runs/maze

Every field of `dreamenv.TrainConfig` is an option; nested ones are written with a dot, such as
`--dynamics.steps 20000`. The same command again goes on where it stopped.
"""

from __future__ import annotations

import sys

from dreamenv.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
