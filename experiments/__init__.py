"""Baselines, ablations and schemes trained on the same data, measured by the same tasks."""
