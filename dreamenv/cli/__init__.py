"""The `dreamenv` command: one verb per file."""
