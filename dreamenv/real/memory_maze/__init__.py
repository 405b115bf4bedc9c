"""Memory Maze (Pasukonis et al., 2022): everything this package knows about it."""
