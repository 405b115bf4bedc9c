"""The gap report: agents from the same places in the dream and in the real environment."""
