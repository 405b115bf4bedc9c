"""Calibrating how far a dream's frames can be trusted."""
