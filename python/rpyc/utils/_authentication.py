"""What authenticators have in common."""

from __future__ import annotations


class AuthenticationError(Exception):
    """Raised by an authenticator to refuse the other side."""


AuthenticationError.__module__ = "rpyc.utils.authenticators"
