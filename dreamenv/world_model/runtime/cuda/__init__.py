"""Imagining on CUDA with Triton kernels and recorded graphs."""
