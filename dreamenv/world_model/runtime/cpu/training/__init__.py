"""Training on the CPU with compiled C: forward and gradient of what lies between products."""
