"""DreamEnv: learned Gymnasium environments that are dreamt by a video world model.

Importing this package registers the environment ids and nothing else: neither torch nor a
simulator is loaded until an environment is made.
"""

from dreamenv.dream.registration import register_dream_envs
from dreamenv.real.registration import register_real_envs

__version__ = "0.1.0"

register_real_envs()
register_dream_envs()
