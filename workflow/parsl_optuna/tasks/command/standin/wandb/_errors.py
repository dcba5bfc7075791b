"""The exceptions of wandb."""

from __future__ import annotations


class Error(Exception):
    """The base of all."""

    def __init__(self, message: str = "", context: object = None) -> None:
        super().__init__(message)
        self.message, self.context = message, context


class CommError(Error):
    """Something needs W&B's server."""


class AuthenticationError(CommError):
    """Something needs an account."""


class UsageError(Error):
    """A call is no good."""


class ConfigError(Error):
    """A value of the configuration may not change."""


def needs_server(what: str) -> CommError:
    """Return the error for a call that cannot be answered here."""
    return CommError(f"{what} needs W&B's server; this is the stand-in of parsl-optuna: install wandb for it")
