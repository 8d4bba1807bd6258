"""Frames over a stream.

::

    offset 0    4 bytes  length L of the body as transmitted, big-endian
    offset 4    1 byte   0: the body is the payload; otherwise it is zlib-compressed
    offset 5    L bytes  body
    offset 5+L  1 byte   newline, not checked

(``protocol.md``, section 3.) The engine drives plain sockets and pipes itself; this class serves
streams that only exist in Python, and programs that wrap or subclass it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rpyc.core.consts import STREAM_CHUNK
from rpyc.lib import safe_import
from rpyc.lib.compat import Struct

if TYPE_CHECKING:
    from rpyc.core.stream import Stream
    from rpyc.lib import Timeout

zlib = safe_import("zlib")

_INFLATED_AT_ONCE = 1 << 24
"""Bytes of a payload that are inflated before it is known how long it is."""


class Channel:
    """Sends and receives whole payloads over ``stream``.

    ``compress`` allows to compress what is sent; compressed frames are always accepted. The class
    attributes may be assigned to; sizes are bytes.
    """

    COMPRESSION_THRESHOLD: ClassVar[int] = 3000
    """Payloads longer than this are compressed."""

    COMPRESSION_LEVEL: ClassVar[int] = 1
    """The zlib level: speed matters more than size."""

    FRAME_HEADER: ClassVar[Struct] = Struct("!LB")
    FLUSHER: ClassVar[bytes] = b"\n"

    MAX_FRAME_SIZE: ClassVar[int] = 2**32 - 1
    """The longest body sent or accepted. The header can't hold more."""

    MAX_INFLATED_SIZE: ClassVar[int] = 2**29
    """The longest payload accepted after decompression: a small frame can hold a huge one."""

    __slots__ = ("__weakref__", "_frame_limit", "_inflated_limit", "compress", "stream")

    stream: Stream
    compress: bool

    def __init__(self, stream: Stream, compress: bool = True) -> None:
        self.stream = stream
        self.compress = compress and bool(zlib)
        self._frame_limit: int | None = None
        self._inflated_limit: int | None = None

    def limit(self, frame: int | None, inflated: int | None) -> None:
        """Accept at most that many bytes of a frame, and of a payload after decompression.

        ``None`` leaves it to the class attributes.
        """
        self._frame_limit = frame
        self._inflated_limit = inflated

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self.stream.closed

    def fileno(self) -> int:
        """The stream's descriptor for reading."""
        return self.stream.fileno()

    def poll(self, timeout: float | Timeout | None) -> bool:
        """Whether there is something to read, within ``timeout`` seconds (``None``: no limit)."""
        return self.stream.poll(timeout)

    def recv(self) -> bytes:
        """Receive one payload.

        Raises ``EOFError`` if the stream ends or fails, ``zlib.error`` if a compressed body is bad,
        and ``ValueError`` if a limit is exceeded.
        """
        length, compressed = self.FRAME_HEADER.unpack(self.stream.read(self.FRAME_HEADER.size))
        limit = self.MAX_FRAME_SIZE if self._frame_limit is None else self._frame_limit
        if length > limit:
            # The frame stays unread, so nothing after it can be found.
            self.close()
            raise ValueError(
                f"receiving a frame: the peer announces {length} bytes, more than the limit of "
                f"{limit} (Channel.MAX_FRAME_SIZE, config key max_frame_size); the stream has "
                "been closed"
            )
        body = self.stream.read(length + len(self.FLUSHER))[:length]
        if not compressed:
            return body
        try:
            return self._inflate(body)
        except (ValueError, zlib.error):
            # What a peer sends that sends this can't be trusted either.
            self.close()
            raise

    def send(self, data: bytes) -> None:
        """Send one payload.

        Raises ``EOFError`` if the stream fails, and ``ValueError`` if the payload is too long.
        """
        compressed = self.compress and len(data) > self.COMPRESSION_THRESHOLD
        if compressed:
            data = zlib.compress(data, self.COMPRESSION_LEVEL)
        if len(data) > self.MAX_FRAME_SIZE:
            raise ValueError(
                f"sending a frame: {len(data)} bytes are more than the limit of "
                f"{self.MAX_FRAME_SIZE} (Channel.MAX_FRAME_SIZE); send the data in parts"
            )
        header = self.FRAME_HEADER.pack(len(data), int(compressed))
        chunk = getattr(self.stream, "MAX_IO_CHUNK", STREAM_CHUNK)
        if len(header) + len(data) + len(self.FLUSHER) <= chunk:
            self.stream.write(header + data + self.FLUSHER)
        else:
            # A long body is not copied just to have the newline behind it.
            first = chunk - len(header)
            self.stream.write(header + data[:first])
            self.stream.write(data[first:])
            self.stream.write(self.FLUSHER)

    def _inflate(self, body: bytes) -> bytes:
        limit = self.MAX_INFLATED_SIZE if self._inflated_limit is None else self._inflated_limit
        inflater = zlib.decompressobj()
        payload: bytes = inflater.decompress(body, min(limit + 1, _INFLATED_AT_ONCE))
        if not inflater.eof and len(payload) >= _INFLATED_AT_ONCE:
            # What may be a bomb is inflated to nowhere first, to learn its size.
            del payload
            _measure(body, limit)
            payload = zlib.decompress(body)
        if len(payload) > limit:
            raise _too_large(body, limit)
        if not inflater.eof and len(payload) < _INFLATED_AT_ONCE:
            raise zlib.error("incomplete or truncated stream")
        return payload


def _measure(body: bytes, limit: int) -> None:
    """Inflate to nowhere; ValueError if it is more than ``limit`` bytes."""
    inflater = zlib.decompressobj()
    size, rest = 0, body
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, _INFLATED_AT_ONCE))
        if size > limit:
            raise _too_large(body, limit)
        rest = inflater.unconsumed_tail


def _too_large(body: bytes, limit: int) -> ValueError:
    return ValueError(
        f"receiving a frame: {len(body)} compressed bytes hold more than the limit of {limit} "
        "bytes (Channel.MAX_INFLATED_SIZE, config key max_inflated_size)"
    )
