"""Asynchronous results.

:class:`AsyncResult` is what an asynchronous request returns: the container of an answer that may
not be there yet. It is native; programs may subclass it, and replace its methods.
"""

from __future__ import annotations

import sys

from rpyc import _rpyc
from rpyc._rpyc import AsyncResult, is_cancelled
from rpyc.lib.watching import watched_module

__all__ = ["AsyncResult", "AsyncResultTimeout", "is_cancelled"]

AsyncResultTimeout = TimeoutError
"""What waiting raises when a result expired: the builtin ``TimeoutError``."""

sys.modules[__name__].__class__ = watched_module({"AsyncResult"}, _rpyc.extension_changed)
