"""A program that steps a dream on two threads, and then starts other processes that dream.

Prints what came of it as JSON. Processes that hang are ended and told of as such.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.queues import SimpleQueue
from typing import Any

PATIENCE = 200
"""Seconds; what does not hang takes a few."""


def dream(checkpoint: str) -> dict[str, Any]:
    """Step an environment, and say how many threads it had."""
    import torch

    from dreamenv.dream.env import DreamEnv
    from dreamenv.world_model.isolation import isolated, threads_of_a_dream

    before = torch.get_num_threads()
    env = DreamEnv(checkpoint, dtype="float32")
    env.reset(seed=0)
    env.step(1)
    torch.manual_seed(0)
    return {
        "threads of the dream": threads_of_a_dream(),
        "inside": isolated(torch.get_num_threads)(),
        "threads of the program": [before, torch.get_num_threads()],
    }


def dream_twice(checkpoint: str) -> list[dict[str, Any]]:
    """The same again after the program has chosen a number of threads that is not torch's own."""
    import torch

    unasked = dream(checkpoint)
    torch.set_num_threads(3)
    return [unasked, dream(checkpoint)]


def tell(checkpoint: str, queue: SimpleQueue) -> None:
    queue.put(dream_twice(checkpoint))


def elsewhere(method: str, checkpoint: str) -> Any:
    """What `dream_twice` finds in a process of its own."""
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=tell, args=(checkpoint, queue), daemon=True)
    process.start()
    process.join(PATIENCE)
    hangs = process.is_alive()
    process.kill()
    return "hangs" if hangs else queue.get()


def in_async_vector(checkpoint: str) -> str:
    """Step Gymnasium's vector environment of two processes."""
    import gymnasium

    env = gymnasium.make_vec(
        "DreamEnv-v0",
        2,
        vectorization_mode="async",
        vector_kwargs={"context": "fork"},
        checkpoint=checkpoint,
        dtype="float32",
    )
    try:
        env.reset_async(seed=0)
        env.reset_wait(timeout=PATIENCE)
        env.step_async(env.action_space.sample())
        env.step_wait(timeout=PATIENCE)
    except multiprocessing.TimeoutError:
        env.close(terminate=True)
        return "hangs"
    env.close()
    return "steps"


def main(checkpoint: str) -> None:
    import torch

    import dreamenv  # noqa: F401

    torch.set_num_threads(2)
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)
    found: dict[str, Any] = {"here": dream(checkpoint)}
    found["forked"] = elsewhere("fork", checkpoint)
    found["async"] = in_async_vector(checkpoint)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.pop(name, None)
    found["spawned"] = elsewhere("spawn", checkpoint)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
