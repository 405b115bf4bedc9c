"""Bytes that a dream remembers, by preset and precision. Counted, not timed: takes a second.

    python -m benchmarks.state_bytes

Result: docs/results/state_bytes.json.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.script import command, options, store
from dreamenv.core.machine import DTYPES
from dreamenv.world_model.config import WorldModelConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.presets import PRESETS, preset


def state_bytes(config: WorldModelConfig) -> dict[str, Any]:
    """Parameters, and bytes of one slot's memory by precision and by kind."""
    with torch.device("meta"):  # no numbers, only shapes
        model = WorldModel(config)
    result: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    for dtype in DTYPES:
        model.compute_dtype = getattr(torch, dtype)
        kinds: dict[str, int] = {}
        for name, tensor in model.initial_state(1).named_tensors():
            kind = name.rsplit(".", 1)[-1]
            kinds[kind] = kinds.get(kind, 0) + tensor.nbytes
        result[dtype] = {"bytes": sum(kinds.values()), "by_kind": kinds}
    return result


def main() -> None:
    """Count and store."""
    parser = options(__doc__, "state_bytes.json")
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    args = parser.parse_args()
    result = {
        "command": command("state_bytes"),
        "presets": {name: state_bytes(preset(name)) for name in args.presets},
    }
    store(args.out, result)


if __name__ == "__main__":
    main()
