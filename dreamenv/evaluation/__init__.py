"""Measuring: agents to score, frame metrics, the sim-to-real gap."""
