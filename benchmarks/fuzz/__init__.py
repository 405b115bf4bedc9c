"""Damaged and forged checkpoints, rollout stores and dreams: none may pass for a whole one."""
