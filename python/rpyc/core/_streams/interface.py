"""What every stream has, and what streams share: waiting for a descriptor, and reading exactly so much."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

from rpyc.lib import Timeout
from rpyc.lib.compat import poll, select_error

if TYPE_CHECKING:
    from typing_extensions import Self

CLOSED_TEXT = "stream has been closed"

PartReader = Callable[[int, Timeout], "bytes | None"]
"""Reads up to so many bytes of what arrives in time; ``None`` if nothing does, no bytes at the end."""


class Stream:
    """The interface of a stream, and its context manager, which closes it.

    Subclasses define all methods but :meth:`poll`, which needs only :meth:`fileno`.
    """

    __slots__ = ()

    def close(self) -> None:
        """Close the stream. Closing it again does nothing."""
        raise self._lacks("close")

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        raise self._lacks("closed")

    def fileno(self) -> int:
        """The descriptor to wait on for reading."""
        raise self._lacks("fileno")

    def poll(self, timeout: float | Timeout | None) -> bool:
        """Whether there is something to read; the end of the stream counts too.

        Waits up to ``timeout`` seconds; ``None`` is no limit. Raises ``EOFError`` if the stream is
        closed.
        """
        return wait_for(self.fileno(), "r", Timeout(timeout).timeleft())

    def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes.

        If that fails, the stream is closed and ``EOFError`` is raised.
        """
        raise self._lacks("read")

    def write(self, data: bytes) -> None:
        """Write all of ``data``.

        If that fails, the stream is closed and ``EOFError`` is raised.
        """
        raise self._lacks("write")

    def _part_reader(self) -> PartReader | None:
        """What reads as ``poll`` and ``read`` do, but in parts; ``None`` if programs have overridden these."""
        return None

    def _lacks(self, name: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} is a stream that does not define {name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _ClosedFile:
    """Stands in for the file of a closed stream: all use of it raises ``EOFError``."""

    __slots__ = ()

    closed = True

    def __getattr__(self, name: str) -> NoReturn:
        # Python itself looks for special attributes and expects AttributeError.
        kind = AttributeError if name.startswith("__") else EOFError
        raise kind(CLOSED_TEXT)

    def close(self) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Raise ``EOFError``."""
        raise EOFError(CLOSED_TEXT)


ClosedFile: Any = _ClosedFile()
"""The one object of its kind."""


def wait_for(descriptor: int, mode: str, seconds: float | None) -> bool:
    """Wait until a descriptor can be read or written, or has failed; whether that happened."""
    poller = poll()
    try:
        poller.register(descriptor, mode)
    except ValueError as error:
        # A socket that was closed without the stream has the descriptor -1.
        raise select_error(str(error)) from None
    return bool(poller.poll(seconds))


def collect(stream: Stream, count: int, receive: Callable[[int], bytes]) -> bytes:
    """Receive exactly ``count`` bytes. ``receive`` is told how many are wanted at most."""
    part = receive(count) if count > 0 else b""
    if len(part) == count:
        return part
    # One buffer: a peer that sends byte by byte must not cost an object for each.
    buffer = BytesIO()
    while part:
        buffer.write(part)
        count -= len(part)
        if count <= 0:
            return buffer.getvalue()
        part = receive(count)
    stream.close()
    raise EOFError("connection closed by peer")


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """The data in parts of up to ``size`` bytes; short data itself, not a copy."""
    return (data[start : start + size] for start in range(0, len(data), size))


def timed_out(error: Exception) -> bool:
    """Whether the socket's own time-out passed; when TCP gave up there is an error number."""
    return isinstance(error, TimeoutError) and error.errno is None


def would_block(error: Exception, mode: str) -> str | None:
    """What a non-blocking socket waits for; ``None`` if the error is another one."""
    if isinstance(error, BlockingIOError):
        return mode
    # TLS may have to read for a write, and the converse. If there is a TLS socket, ssl is loaded.
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(error, ssl.SSLWantReadError):
        return "r"
    if ssl is not None and isinstance(error, ssl.SSLWantWriteError):
        return "w"
    return None
