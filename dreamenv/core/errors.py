"""Errors a user of `dreamenv` may meet. Each message says what is wrong and what to do next."""

from __future__ import annotations

from gymnasium.error import InvalidAction, ResetNeeded


class DreamEnvError(Exception):
    """Base of every error raised on purpose by this package."""


class MissingDependencyError(DreamEnvError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class ConfigError(DreamEnvError, ValueError):
    """A configuration value is unknown, impossible, or contradicts another."""


class RolloutError(DreamEnvError, ValueError):
    """A rollout store is missing, damaged, or holds another environment than asked for."""


class CheckpointError(DreamEnvError, ValueError):
    """A checkpoint is missing, damaged, or was made by something else."""


class UnreadableFileError(DreamEnvError, ValueError):
    """A file is damaged, too large, or not a file at all."""


class UntrustedAgentError(CheckpointError):
    """A saved agent would run code of whoever wrote it, and nobody said that it may."""


class EnvironmentUsageError(DreamEnvError, RuntimeError):
    """An environment was called out of order or with an impossible argument."""


class EnvironmentProcessError(EnvironmentUsageError):
    """An environment that runs in a process of its own failed there, died, or did not answer."""


class ResetNeededError(EnvironmentUsageError, ResetNeeded):
    """An environment was used before its first reset, or after an episode's end."""


class InvalidActionError(EnvironmentUsageError, InvalidAction):
    """An action is outside the action space."""


class FolderInUseError(DreamEnvError, RuntimeError):
    """Another process is writing to the folder; the message names it."""
