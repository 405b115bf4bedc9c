"""An environment as MineRL's are, and all that can go wrong with one."""

import os
import subprocess
import sys
import time

import gym
import numpy as np

SHAPE = (16, 16, 3)


class Enum(gym.Discrete):
    def __init__(self, *values):
        super().__init__(len(values))
        self.values = np.array(sorted(values))


class Text(gym.Space):
    pass


class World(gym.Env):
    """Shows noise of its seed, with the number of the step in a corner.

    Args:
        fault: what goes wrong, at `at`.
        at: step, from 1; 0 for the reset.
        text: of the error.
        length: step at which it terminates.
    """

    def __init__(self, fault="", at=2, text="", length=100, chat=False):
        self.fault, self.at, self.text, self.length = fault, at, text, length
        pov = gym.Box(0, 255, SHAPE, "uint8")
        self.observation_space = gym.Dict({
            "pov": pov,
            "compass": gym.Dict({"angle": gym.Box(-180, 180, (), "float32")}),
            "equipped": Enum("none", "air", "other"),
            "said": Text(),
        })  # fmt: skip
        keys = {name: gym.Discrete(2) for name in ("attack", "forward", "jump")}
        keys["camera"] = gym.Box(-180, 180, (2,), "float32")
        keys["place"] = Enum("none", "dirt")
        self.action_space = gym.Dict(keys | {"chat": Text()} if chat else keys)
        self._seed = None
        if fault == "hang":
            helper = subprocess.Popen(["sleep", "600"])
            print(helper.pid, file=sys.stderr, flush=True)

    def seed(self, seed=None):
        assert isinstance(seed, int)
        self._seed = seed

    def reset(self):
        assert self._seed is not None, "seed before every reset"
        self.random, self._told = np.random.default_rng(self._seed), self._seed
        self._seed, self.steps = None, 0  # as MineRL forgets it
        self._break({})
        return self._observed()

    def step(self, action):
        self.steps += 1
        camera, place = action["camera"], action["place"]
        assert isinstance(place, str) and camera.dtype == np.float32 and camera.shape == (2,)
        taken = f"{place} {camera.tolist()} {action['forward']}{action['jump']}{action['attack']}"
        info = {"seed": self._told, "taken": taken, "odd": object(), "at": np.arange(2.0)}
        done = self.steps >= self.length
        self._break(info)
        return self._observed(), float(self.steps), done, info

    def _observed(self):
        pov = self.random.integers(0, 256, SHAPE, "uint8")
        pov[-1, 0, 0] = self.steps
        pov = pov[::-1]
        if self.fault == "shape" and self.steps == self.at:
            pov = pov[:8]
        if self.fault == "floats" and self.steps == self.at:
            pov = pov + 0.5
        angle = np.array(self.steps / 2)
        return {"pov": pov, "compass": {"angle": angle}, "equipped": "air", "said": "hello"}

    def _break(self, info):
        if self.steps != self.at:
            return
        if self.fault == "raise":
            raise EOFError(self.text or "the world is gone\nand more")
        if self.fault == "exit":
            sys.exit(self.text)
        if self.fault == "die":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(7)
        if self.fault == "hang":
            time.sleep(600)
        if self.fault == "huge":
            info["text"] = "x" * 2**22
        if self.fault == "talk":
            print("blah " * 50_000)
        if self.fault == "random frames":
            info["error"] = "Connection timed out!"


class Basalt(gym.Env):
    """The spaces of MineRL 1.0's tasks, which end by a key, or by time without saying so."""

    KEYS = (
        "ESC attack back drop forward inventory jump left pickItem right sneak sprint swapHands use"
    ).split() + [f"hotbar.{i}" for i in range(1, 10)]

    def __init__(self):
        self.observation_space = gym.Dict({"pov": gym.Box(0, 255, (360, 640, 3), "uint8")})
        keys = {name: gym.Discrete(2) for name in self.KEYS}
        self.action_space = gym.Dict(keys | {"camera": gym.Box(-180, 180, (2,), "float32")})

    def reset(self):
        self.steps = 0
        return self._observed()

    def step(self, action):
        self.steps += 1
        return self._observed(), 0.0, bool(action["ESC"]) or self.steps >= 60, {}

    def _observed(self):
        pov = np.full((360, 640, 3), 7, "uint8")
        pov[0, 0] = self.steps
        return {"pov": pov}


gym.register("MineRLNavigate-v0", World, 4)
gym.register("MineRLBasaltFindCave-v0", Basalt, 61, counted=False)
gym.register("Unsaid-v0", lambda **given: World(length=4, **given), 4, counted=False)
