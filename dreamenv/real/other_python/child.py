"""The other end of the pipe: one environment in a Python of its own.

This file is run as a script by any Python from 3.7 on, which needs numpy and the environment's
packages and nothing of this one: `python child.py FOLDER GRACE WHERE`. It serves one environment
of the old Gym API (four values of `step`, `env.seed`) or of the new one, and ends when its input
does.

The pipe. Requests come in on standard input, replies leave on what was standard output (whatever
the environment prints goes to standard error instead). A message is

    4 bytes MAGIC | 4 bytes length of the head | 4 bytes length of the body | head | body

with lengths unsigned and big-endian, the head JSON, and the body the bytes of arrays one after the
other. An array stands in the head as {"__array__": [dtype, shape]} and takes its bytes from the
body in the order in which a reader meets them. Heads are at most MOST_HEAD bytes, bodies MOST_BODY,
dtypes those of DTYPES: nothing that is read can run code, or take more memory than that.

Every request has a number `n`, which its reply repeats, and `do`:

    make   game "module:Id-v0", arguments {}, path []    → observation, action (spaces), limit
    reset  seed, None for any                            → observation, info
    step   action                                        → observation, reward, terminated,
                                                           truncated (None: nobody said), info
    close                                                → (nothing)

A reply of something that failed has `error` instead: its kind, its text, the kinds it is one of.
FOLDER is a folder of the environment's own, for temporary files; it is removed at the end. WHERE
is where the parent stands. GRACE is how many seconds the environment has to close after the input
has ended; then this process ends, with all of its group.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder: its modules are not for the environment

import difflib
import importlib
import json
import os
import queue
import shutil
import signal
import struct
import threading
import time
from typing import Any

MAGIC = b"dpy1"
FRAME = struct.Struct(">4sII")
MOST_HEAD, MOST_BODY = 2**22, 2**27
DTYPES = frozenset("bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 "
                   "float16 float32 float64".split())  # fmt: skip
ARRAY = "__array__"
MOST_TEXT = 6000
"""Characters that are told of an error: its beginning and its end."""


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes; ValueError where it is too large or holds what has no form here."""
    body: list[bytes] = []
    head = json.dumps(_plain(message, body)).encode()
    size = sum(map(len, body))
    if len(head) > MOST_HEAD or size > MOST_BODY:
        raise ValueError(
            f"a message of {len(head)} + {size} bytes is too large; at most {MOST_HEAD} of plain "
            f"values and {MOST_BODY} of arrays cross the pipe"
        )
    return FRAME.pack(MAGIC, len(head), size) + head + b"".join(body)


def _plain(value: Any, body: list[bytes]) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part, body) for name, part in value.items()}
    if isinstance(value, (list, tuple)):  # noqa: UP038  (an old Python reads this)
        return [_plain(part, body) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):  # noqa: UP038
        return getattr(value, "item", lambda: value)()
    name = str(getattr(value, "dtype", ""))
    if name not in DTYPES:
        raise ValueError(f"{type(value).__name__} {name} cannot cross the pipe")
    body.append(value.astype(value.dtype.newbyteorder("<")).tobytes())
    return {ARRAY: [name, list(value.shape)]}


class Spaces:
    """Spaces of any Gym, and of MineRL, as plain data; and values of them, there and back."""

    def __init__(self, numpy: Any) -> None:
        self.np = numpy

    def describe(self, space: Any) -> dict[str, Any]:
        """A space as plain data; of kind "other" where its values are no numbers."""
        names = {kind.__name__ for kind in type(space).__mro__}
        for kind in ("Dict", "Tuple"):
            if kind in names:
                parts = space.spaces if kind == "Dict" else dict(enumerate(space.spaces))
                described = [[str(name), self.describe(part)] for name, part in parts.items()]
                return {"kind": kind, "parts": described}
        if "Enum" in names and hasattr(space, "values"):
            return {"kind": "Enum", "values": [str(value) for value in space.values]}
        for kind in ("MultiDiscrete", "MultiBinary", "Box"):
            if kind in names and str(space.dtype) in DTYPES:
                shape = [int(size) for size in space.shape]
                told: dict[str, Any] = {"kind": kind, "shape": shape, "dtype": str(space.dtype)}
                limits = {"MultiDiscrete": ("nvec", "start"), "Box": ("low", "high")}
                for name in limits.get(kind, ()):
                    told[name] = self._bound(getattr(space, name, 0))
                return told
        if "Discrete" in names:
            start = getattr(space, "begin", getattr(space, "start", 0))
            return {"kind": "Discrete", "n": int(space.n), "start": int(start)}
        return {"kind": "other", "text": str(space)[:200]}

    def _bound(self, bound: Any) -> Any:
        bound = self.np.asarray(bound)
        same = bound.size and (bound == bound.flat[0]).all()
        return bound.flat[0].item() if same else bound

    def value(self, space: dict[str, Any], value: Any, where: str) -> Any:
        """A value of a described space as it crosses the pipe; ValueError if it is none of it."""
        kind, np = space["kind"], self.np
        if kind in ("Dict", "Tuple"):
            found = {}
            for name, part in space["parts"]:
                try:
                    inner = value[name if kind == "Dict" else int(name)]
                except (LookupError, TypeError):
                    raise ValueError(f"{where} lacks {name!r}") from None
                if part["kind"] != "other":
                    found[name] = self.value(part, inner, f"{where} {name!r}")
            return found
        if kind == "Enum" and str(value) in space["values"]:
            return space["values"].index(str(value))
        array = np.asarray(value)
        if kind in ("Discrete", "Enum"):
            first, count = space.get("start", 0), space.get("n", len(space.get("values", "")))
            counts = array.size == 1 and array.dtype.kind in "biu"
            if not counts or not first <= int(array.item()) < first + count:
                raise ValueError(f"{where} is {value!r}, not from {first} to {first + count - 1}")
            return int(array.item())
        shape, dtype = tuple(space["shape"]), np.dtype(space["dtype"])
        if array.shape == shape and array.dtype.kind in "biuf":
            cast = array.astype(dtype)
            if np.can_cast(array.dtype, dtype, "same_kind") or (cast == array).all():
                return cast
        raise ValueError(
            f"{where} is {array.dtype} of shape {array.shape}, but its space says {dtype} of "
            f"shape {shape}"
        )

    def action(self, space: dict[str, Any], value: Any) -> Any:
        """An action as the environment takes it, of its plain form: nested lists of numbers."""
        kind = space["kind"]
        if kind in ("Dict", "Tuple"):
            found = {name: self.action(part, value[name]) for name, part in space["parts"]}
            return found if kind == "Dict" else tuple(found.values())
        if kind == "Enum":
            return space["values"][value]
        if kind == "Discrete":
            return int(value)
        return self.np.array(value, space["dtype"]).reshape(space["shape"])


class Server:
    """Makes one environment, and does with it what requests say."""

    def __init__(self) -> None:
        self.env: Any = None
        self.new = False
        """Whether `reset` takes the seed and tells infos."""

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request; raises what the environment raises."""
        do = request["do"]
        if do == "make":
            return self.make(request["game"], request["arguments"], request["path"])
        if do == "reset":
            return self.reset(request["seed"])
        if do == "step":
            return self.step(request["action"])
        if do == "close":
            self.close()
            return {}
        raise ValueError(f"there is no {do!r} to be done")

    def make(self, game: str, arguments: dict[str, Any], path: list[str]) -> dict[str, Any]:
        """Make the environment and describe its spaces."""
        sys.path[:0] = path
        self.spaces = Spaces(importlib.import_module("numpy"))
        module, _, name = game.rpartition(":")
        if module:
            importlib.import_module(module)
        gym, known = registered(name)
        self.env = gym.make(name, **arguments)
        version = str(getattr(gym, "__version__", "0")).split(".")
        self.new = gym.__name__ == "gymnasium" or [int(n) for n in version[:2]] >= [0, 26]
        self.seen = self.spaces.describe(self.env.observation_space)
        self.acts = self.spaces.describe(self.env.action_space)
        spec = known[name] if hasattr(known, "keys") else gym.spec(name)
        return {
            "observation": self.seen,
            "action": self.acts,
            "limit": getattr(spec, "max_episode_steps", None),
        }

    def reset(self, seed: int | None) -> dict[str, Any]:
        """Begin an episode."""
        if self.new:
            told = self.env.reset(seed=seed)
        else:
            if seed is not None:
                self.env.seed(seed)
            told = self.env.reset()
        observation, info = told if self.new else (told, {})
        return {"observation": self._seen(observation), "info": self._info(info)}

    def step(self, action: Any) -> dict[str, Any]:
        """Take one action."""
        told = self.env.step(self.spaces.action(self.acts, action))
        observation, reward, done, truncated, info = told if len(told) == 5 else (
            *told[:3], None, told[3])  # fmt: skip
        info = dict(info or {})
        terminated = bool(done)
        if truncated is None and "TimeLimit.truncated" in info:
            truncated = terminated and bool(info.pop("TimeLimit.truncated"))
            terminated = terminated and not truncated
        return {
            "observation": self._seen(observation),
            "reward": float(self.spaces.np.asarray(reward).item()),
            "terminated": terminated,
            "truncated": None if truncated is None else bool(truncated),
            "info": self._info(info),
        }

    def close(self) -> None:
        """Close the environment, if there is one."""
        env, self.env = self.env, None
        if env is not None:
            env.close()

    def _seen(self, observation: Any) -> Any:
        return self.spaces.value(self.seen, observation, "the observation")

    def _info(self, info: Any) -> dict[str, Any]:
        """What of an info is numbers, truths, texts and dicts of them; the rest stays here."""
        kept: dict[str, Any] = {}
        for name, value in dict(info or {}).items():
            dtype = str(getattr(value, "dtype", ""))
            if isinstance(value, dict):
                kept[str(name)] = self._info(value)
            elif value is None or isinstance(value, (bool, int, float, str)) or dtype in DTYPES:  # noqa: UP038
                kept[str(name)] = value if not dtype else self.spaces.np.asarray(value)
        kept.pop(ARRAY, None)
        return kept


def registered(name: str) -> Any:
    """The Gym that an id is registered with, and its registry; LookupError where there is none."""
    near: list[str] = []
    missing: ImportError | None = None
    # The one that the environment's own module has imported comes first.
    for each in sorted(("gym", "gymnasium"), key=lambda gym: gym not in sys.modules):
        try:
            gym = importlib.import_module(each)
        except ImportError as error:
            missing = missing or error
            continue
        registry = gym.envs.registry
        known = registry if hasattr(registry, "keys") else registry.env_specs
        if name in known:
            return gym, known
        near += difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    if missing and not near and "gym" not in sys.modules and "gymnasium" not in sys.modules:
        raise missing
    hint = f"; did you mean {' or '.join(near[:3])}?" if near else ""
    raise LookupError(f"no environment {name!r} is registered{hint}")


def error_of(error: BaseException) -> dict[str, Any]:
    """What is told of an error."""
    text = str(error)
    if len(text) > MOST_TEXT:
        text = text[: MOST_TEXT // 4] + " … " + text[-MOST_TEXT * 3 // 4 :]
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return {"kind": kinds[0], "kinds": kinds, "text": text, "module": getattr(error, "name", None)}


def serve(folder: str, grace: float, where: str) -> None:
    """Serve requests until there are none."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what the environment prints must not come between the replies
    sys.path.insert(0, where)
    todo: queue.Queue[Any] = queue.Queue()

    def read() -> None:
        try:
            while True:
                magic, head, body = FRAME.unpack(requests.read(FRAME.size))
                if magic != MAGIC or head > MOST_HEAD or body:
                    break
                todo.put(json.loads(requests.read(head).decode()))
        except (struct.error, OSError, ValueError):
            pass  # the input has ended
        todo.put(None)
        time.sleep(grace)  # for the environment to be closed; it may be amid a step
        shutil.rmtree(folder, ignore_errors=True)
        end_group()

    threading.Thread(target=read, daemon=True).start()
    server = Server()
    try:
        while True:
            request = todo.get()
            if request is None:
                break
            try:
                replies.write(_answer(server, request))
                replies.flush()
            except OSError:
                break
    finally:
        try:
            server.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _answer(server: Server, request: dict[str, Any]) -> bytes:
    try:
        return pack({"n": request["n"], **server.handle(request)})
    except (Exception, SystemExit) as error:
        return pack({"n": request["n"], "error": error_of(error)})


def end_group() -> None:
    """End this process, and its group where it leads one."""
    if hasattr(os, "getpgrp") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]), sys.argv[3])
