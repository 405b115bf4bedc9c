"""Registers the colour environments on import, for processes that tests start."""

from tests.agents import colour_env

colour_env.register()
