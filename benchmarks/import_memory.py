"""The most memory that an import holds, by the number of episodes in the data set: it stays.

    python -m benchmarks.import_memory

Data sets of counting frames are written as the tests write them, and each is imported by a process
of its own, whose largest resident size Linux tells (VmHWM; getrusage would tell that of the process
that started it, if that was larger). Needs the extras minari and lerobot.
Result: docs/results/import_memory.json.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.script import command, options, store

TESTS = Path(__file__).parents[1] / "tests" / "rollouts"
STEPS = 60
IMPORT = """
import sys
from pathlib import Path
from dreamenv.rollouts.importers.run import import_rollouts
done = import_rollouts(sys.argv[1], sys.argv[2], sys.argv[3], progress=False)
status = Path("/proc/self/status").read_text()
print(done.episodes, status.partition("VmHWM:")[2].split()[0])
"""


def write(format: str, folder: Path, count: int) -> Path:
    """A data set of `count` episodes of `STEPS` steps, 64×64."""
    sys.path.insert(0, str(TESTS))
    try:
        import published_layouts as published
        from counting_episodes import counting_episode
    finally:
        sys.path.pop(0)
    episodes = [counting_episode(STEPS, i, (64, 64, 3)) for i in range(count)]
    if format != "minari":
        return getattr(published, format.replace("-", "_"))(folder, episodes)
    from gymnasium.spaces import Box, Discrete

    from dreamenv.rollouts.exporters.minari import export_minari
    from dreamenv.rollouts.store import RolloutStore
    from dreamenv.rollouts.writer import RolloutWriter

    before = folder.with_name(folder.name + "_before")
    with RolloutWriter(before, "Counting-v0", Box(0, 255, (64, 64, 3), "uint8"), Discrete(5)) as w:
        for episode in episodes:
            w.append(episode)
    export_minari(RolloutStore(before), folder, "mine/count-v0", progress=False)
    return folder


def peak(format: str, count: int) -> dict[str, Any]:
    """Megabytes that a process which imports the data set holds at most."""
    with tempfile.TemporaryDirectory() as folder:
        source = write(format, Path(folder, "data"), count)
        arguments = [sys.executable, "-c", IMPORT, str(source), str(Path(folder, "out")), format]
        run = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=True)
    episodes, kilobytes = map(int, run.stdout.split())
    frames = episodes * (STEPS + 1) * 64 * 64 * 3
    return {"episodes": episodes, "frames_mb": frames / 1e6, "peak_mb": kilobytes / 1e3}


def main() -> None:
    """Write, import, measure and store."""
    parser = options(__doc__, "import_memory.json")
    names = ["memory-maze", "minari", "lerobot"]
    parser.add_argument("--formats", nargs="+", default=names)
    parser.add_argument("--episodes", nargs="+", type=int, default=[4, 64])
    args = parser.parse_args()
    result = {
        "command": command("import_memory"),
        "formats": {name: [peak(name, count) for count in args.episodes] for name in args.formats},
    }
    store(args.out, result)


if __name__ == "__main__":
    main()
