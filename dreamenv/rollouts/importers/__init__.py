"""Data sets that others recorded, read into a rollout store: a module per format.

Each module says where its format's columns stand in time and hands them to
`dreamenv.rollouts.timing.between`; nothing behind that border knows where an episode is from.
"""
