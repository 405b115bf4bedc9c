"""Imagining on the CPU with compiled C."""
