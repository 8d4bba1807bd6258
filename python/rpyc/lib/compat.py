"""Names that programs and peers import from here, whatever the version of Python."""

from __future__ import annotations

import builtins
import pickle
import select as select_module
import sys
import threading
import time
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rpyc.lib.timeout import Timeout

__all__ = [
    "BYTES_LITERAL",
    "BytesIO",
    "PollingPoll",
    "Struct",
    "TimeoutError",
    "acquire_lock",
    "callable",
    "execute",
    "get_exc_errno",
    "is_py_3k",
    "is_py_gte37",
    "is_py_gte38",
    "is_py_gte310",
    "is_py_gte311",
    "maxint",
    "next",
    "pickle",
    "poll",
    "select",
    "select_error",
    "select_module",
    "sys",
    "time",
    "with_metaclass",
]

is_py_3k = True
is_py_gte37 = True
is_py_gte38 = True
is_py_gte310 = True
is_py_gte311 = sys.version_info >= (3, 11)

maxint = sys.maxsize
execute = builtins.exec
callable = builtins.callable
next = builtins.next
TimeoutError = builtins.TimeoutError
select = select_module.select
select_error = select_module.error


def BYTES_LITERAL(text: str) -> bytes:  # noqa: N802 - its name is public
    """Return the UTF-8 form of a text."""
    return text.encode("utf-8")


class PollingPoll:
    """Waits for file descriptors.

    Modes and results are texts of these letters: ``r`` readable or priority data, ``w`` writable,
    ``e`` error, ``h`` hang-up, ``n`` not open. The last three are reported unasked.
    """

    def __init__(self) -> None:
        # Looked up now: gevent replaces it with a cooperative one after this module's import.
        self._poll = select_module.poll()

    def register(self, fd: int, mode: str) -> None:
        """Watch ``fd`` for ``mode``."""
        self._poll.register(fd, _to_mask(mode))

    modify = register

    def unregister(self, fd: int) -> None:
        """Watch ``fd`` no longer. Raises ``KeyError`` if it isn't watched."""
        self._poll.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, str]]:
        """Return pairs of descriptor and mode text.

        Waits up to ``timeout`` seconds for the first one, without limit if it is ``None``.
        """
        milliseconds = None if timeout is None else min(max(0.0, timeout) * 1000, _MAX_POLL)
        return [(fd, _to_mode(mask)) for fd, mask in self._poll.poll(milliseconds)]


poll = PollingPoll


def get_exc_errno(exc: BaseException) -> int | None:
    """Return the error number of an exception, or ``None``."""
    if isinstance(exc, OSError):
        return exc.errno
    number = getattr(exc, "errno", exc.args[0] if exc.args else None)
    return number if isinstance(number, int) else None


class _Lock(Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...


def acquire_lock(lock: _Lock, blocking: bool, timeout: Timeout) -> bool:
    """Acquire ``lock`` and return whether that worked, within ``timeout`` if it may block."""
    left = timeout.timeleft()
    if not blocking or left is None:
        return lock.acquire(blocking)
    return lock.acquire(True, min(left, threading.TIMEOUT_MAX))


def with_metaclass(meta: type, *bases: type) -> Any:
    """Return a base class that gives its subclass the metaclass ``meta`` and ``bases``."""

    class Metaclass(type):
        def __new__(cls, name: str, this_bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
            return meta(name, bases, namespace)

    return type.__new__(Metaclass, "temporary_class", (), {})


# Milliseconds, 24 days. poll(2) takes no more.
_MAX_POLL = 2**31 - 1

_MASKS = (
    ("r", select_module.POLLIN | select_module.POLLPRI),
    ("w", select_module.POLLOUT),
    ("e", select_module.POLLERR),
    ("h", select_module.POLLHUP),
    ("n", select_module.POLLNVAL),
)


def _to_mask(mode: str) -> int:
    mask = 0
    for letter, bits in _MASKS:
        if letter in mode:
            mask |= bits
    return mask


def _to_mode(mask: int) -> str:
    return "".join(letter for letter, bits in _MASKS if mask & bits)
