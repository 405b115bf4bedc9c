"""Rollouts: recording episodes of an environment, storing them losslessly, reading windows."""
