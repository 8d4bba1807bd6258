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

from collections.abc import Generator
from io import BytesIO
from typing import ClassVar

from rpyc.core._streams.interface import PartReader
from rpyc.core.consts import STREAM_CHUNK
from rpyc.core.stream import Stream
from rpyc.lib import Timeout, safe_import
from rpyc.lib.compat import Struct

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

    __slots__ = (
        "__weakref__",
        "_arriving",
        "_frame_limit",
        "_inflated_limit",
        "compress",
        "stream",
    )

    stream: Stream
    compress: bool

    def __init__(self, stream: Stream, compress: bool = True) -> None:
        self.stream = stream
        self.compress = compress and bool(zlib)
        self._frame_limit: int | None = None
        self._inflated_limit: int | None = None
        self._arriving: _Arriving | None = None

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
        if self._arriving is not None:
            payload = self._receive_within(None)
            assert payload is not None, "there is no limit of time"
            return payload
        frame = self._frame()
        count = next(frame)
        try:
            while True:
                count = frame.send(self.stream.read(count))
        except StopIteration as done:
            received: bytes = done.value
            return received

    def _receive_within(self, timeout: float | Timeout | None) -> bytes | None:
        """Receive one payload, if all of it is there in time; what is there of it is kept.

        So a peer that sends half of a frame keeps nobody longer than that. ``None`` if it did not
        arrive; otherwise as :meth:`recv`.
        """
        read_some = self._part_reader()
        if read_some is None:
            return self.recv() if self.poll(timeout) else None
        limit = Timeout(timeout)
        arriving = self._arriving = self._arriving or _Arriving(self._frame())
        try:
            while arriving.payload is None:
                part = read_some(arriving.missing, limit)
                if part is None:
                    if not arriving.has_begun:
                        self._arriving = None
                    return None
                if not part:
                    self.close()
                    raise EOFError("connection closed by peer")
                arriving.add(part)
        except BaseException:
            self._arriving = None
            raise
        self._arriving = None
        return arriving.payload

    def _part_reader(self) -> PartReader | None:
        """What reads frames in parts; ``None`` if programs have overridden what reads whole ones."""
        plain = (
            getattr(self.recv, "__func__", None) is _channel_recv
            and getattr(self.poll, "__func__", None) is _channel_poll
            and isinstance(self.stream, Stream)
        )
        return self.stream._part_reader() if plain else None

    def _frame(self) -> Generator[int, bytes, bytes]:
        """Read a frame: yields how many bytes it needs next, is sent them, and returns the payload."""
        length, compressed = self.FRAME_HEADER.unpack((yield self.FRAME_HEADER.size))
        limit = self.MAX_FRAME_SIZE if self._frame_limit is None else self._frame_limit
        if length > limit:
            # The frame stays unread, so nothing after it can be found.
            self.close()
            raise ValueError(
                f"receiving a frame: the peer announces {length} bytes, more than the limit of "
                f"{limit} (Channel.MAX_FRAME_SIZE, config key max_frame_size); the stream has "
                "been closed"
            )
        body = (yield length + len(self.FLUSHER))[:length]
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


_channel_recv, _channel_poll = Channel.recv, Channel.poll


class _Arriving:
    """A frame that has arrived in part."""

    __slots__ = ("_buffer", "_frame", "has_begun", "missing", "payload")

    def __init__(self, frame: Generator[int, bytes, bytes]) -> None:
        self._frame = frame
        self._buffer = BytesIO()
        self.missing = next(frame)
        self.has_begun = False
        self.payload: bytes | None = None

    def add(self, part: bytes) -> None:
        """Take more of it, up to ``missing`` bytes. ``payload`` is set when that was the last of it."""
        self.has_begun = True
        self.missing -= len(part)
        if self.missing or self._buffer.tell():
            # One buffer: a peer that sends byte by byte must not cost an object for each.
            self._buffer.write(part)
            if self.missing:
                return
            part, self._buffer = self._buffer.getvalue(), BytesIO()
        try:
            self.missing = self._frame.send(part)
        except StopIteration as done:
            self.payload = done.value


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
