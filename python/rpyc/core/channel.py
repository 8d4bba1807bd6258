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

    __slots__ = ("__weakref__", "compress", "stream")

    stream: Stream
    compress: bool

    def __init__(self, stream: Stream, compress: bool = True) -> None:
        self.stream = stream
        self.compress = compress and bool(zlib)

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
        if length > self.MAX_FRAME_SIZE:
            # The frame stays unread, so nothing after it can be found.
            self.close()
            raise ValueError(
                f"receiving a frame: the peer announces {length} bytes, more than the limit of "
                f"{self.MAX_FRAME_SIZE} (Channel.MAX_FRAME_SIZE); the stream has been closed"
            )
        body = self.stream.read(length + len(self.FLUSHER))[:length]
        return self._inflate(body) if compressed else body

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
        inflater = zlib.decompressobj()
        payload: bytes = inflater.decompress(body, self.MAX_INFLATED_SIZE + 1)
        if len(payload) > self.MAX_INFLATED_SIZE:
            raise ValueError(
                f"receiving a frame: {len(body)} compressed bytes hold more than the limit of "
                f"{self.MAX_INFLATED_SIZE} bytes (Channel.MAX_INFLATED_SIZE)"
            )
        if not inflater.eof:
            raise zlib.error("incomplete or truncated stream")
        return payload
