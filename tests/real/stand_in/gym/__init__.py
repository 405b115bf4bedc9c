"""As much of an old Gym as an environment of its time needs; stands in the place of the real one.

Only the process of an environment finds it, in the folder that a test names.
"""

from types import SimpleNamespace

__version__ = "0.19.0"


class Space:
    pass


class Discrete(Space):
    dtype = "int64"

    def __init__(self, n):
        self.n, self.shape = n, ()


class Box(Space):
    def __init__(self, low, high, shape, dtype):
        import numpy as np

        self.shape, self.dtype = shape, np.dtype(dtype)
        self.low, self.high = (np.broadcast_to(bound, shape) for bound in (low, high))


class Dict(Space):
    def __init__(self, spaces):
        self.spaces = spaces


class Env:
    def close(self):
        pass

    def seed(self, seed=None):
        pass


class TimeLimit(Env):
    def __init__(self, env, steps):
        self.env, self.steps = env, steps
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def seed(self, seed=None):
        self.env.seed(seed)

    def reset(self):
        self.gone = 0
        return self.env.reset()

    def step(self, action):
        observation, reward, done, info = self.env.step(action)
        self.gone += 1
        if self.gone >= self.steps:
            info["TimeLimit.truncated"] = not done
            done = True
        return observation, reward, done, info

    def close(self):
        self.env.close()


envs = SimpleNamespace(registry=SimpleNamespace(env_specs={}))


def register(id, entry_point, max_episode_steps=None, counted=True):
    """`counted`: whether a wrapper counts the steps, or the environment does so unsaid."""
    envs.registry.env_specs[id] = SimpleNamespace(
        id=id, make=entry_point, max_episode_steps=max_episode_steps, counted=counted
    )


def spec(id):
    return envs.registry.env_specs[id]


def make(id, **arguments):
    found = spec(id)
    env = found.make(**arguments)
    limited = found.counted and found.max_episode_steps
    return TimeLimit(env, found.max_episode_steps) if limited else env
