"""Measures of frames and rewards, real against dreamt."""
