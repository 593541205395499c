"""Errors of the core, by what the caller can do about them.

LatelabelError
  PermanentFailure    will fail again: stop and say why
  TemporaryFailure    the same call may succeed later: keep the work and try again
"""

from __future__ import annotations

__all__ = ["LatelabelError", "PermanentFailure", "TemporaryFailure"]


class LatelabelError(Exception):
    """Base of every error that is raised on purpose."""


class PermanentFailure(LatelabelError):
    """Trying again changes nothing; the message says what does."""


class TemporaryFailure(LatelabelError):
    """The store or broker is away or refuses for now; nothing is known about what was applied."""
