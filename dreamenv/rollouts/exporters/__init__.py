"""Rollouts in formats that others read: a module per format."""
