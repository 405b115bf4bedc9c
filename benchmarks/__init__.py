"""Measurements of speed, size and quality; `make bench` runs those of speed, in minutes."""
