"""Commands that are killed, interrupted, run out of disk or run twice: what stands afterwards."""
