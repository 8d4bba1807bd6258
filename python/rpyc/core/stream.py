"""Streams: exclusive duplex pipes of bytes.

The engine drives plain sockets and pipes itself, through their descriptor. The methods here are the
portable path: for sockets that only look like one (TLS, gevent, tunnels), and for programs that
subclass a stream. (``protocol.md``, section 2.)
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, ClassVar, Protocol

from rpyc.core._streams.interface import (
    CLOSED_TEXT,
    ClosedFile,
    PartReader,
    Stream,
    chunks,
    collect,
    timed_out,
    wait_for,
    would_block,
)
from rpyc.core._streams.windows import NamedPipeStream, Win32PipeStream
from rpyc.core.consts import STREAM_CHUNK
from rpyc.lib import Timeout, socket_backoff_connect
from rpyc.lib.network import client_context, keep_alive

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "ClosedFile",
    "NamedPipeStream",
    "PipeStream",
    "SocketStream",
    "Stream",
    "TunneledSocketStream",
    "Win32PipeStream",
]

_KEEPALIVE_SECONDS = 60

_LAST_PORT = 0xFFFF


class _EngineIO(Protocol):
    """The engine's hold on a stream that it drives by descriptor."""

    def close(self) -> bool:
        """Let go of the descriptor; whether that has shut the connection down."""
        ...


class SocketStream(Stream):
    """A stream over a connected socket, or anything with the methods of one."""

    __slots__ = ("_engine_io", "_turn", "sock")

    MAX_IO_CHUNK: ClassVar[int] = STREAM_CHUNK
    """The most bytes passed to one call of the operating system."""

    sock: Any
    _engine_io: _EngineIO | None
    _turn: contextlib.AbstractContextManager[Any] | None

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self._engine_io = None
        # OpenSSL's connections bear one thread at a time, whichever way the bytes go. Reentrant, since a
        # finalizer may send where this thread has just received.
        self._turn = threading.RLock() if _is_tls(sock) else None

    @classmethod
    def _connect(
        cls,
        host: str,
        port: int | str,
        family: int = socket.AF_INET,
        socktype: int = socket.SOCK_STREAM,
        proto: int = 0,
        timeout: float | None = 3,
        nodelay: bool = False,
        keepalive: bool | int = False,
        attempts: int = 6,
    ) -> socket.socket:
        """Connect a socket to the first address that ``host`` has, and return it."""
        if keepalive and keepalive < 1:
            raise ValueError("Keepalive minimal value is 1 second")
        address: Any = host, port
        if not _is_address(host, port, family):
            found = socket.getaddrinfo(host, port, family, socktype, proto)
            family, socktype, proto, _, address = found[0]
        sock = socket_backoff_connect(family, socktype, proto, address, timeout, attempts)
        try:
            if nodelay:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if keepalive:
                keep_alive(sock, _KEEPALIVE_SECONDS if keepalive is True else keepalive)
        except BaseException:
            sock.close()
            raise
        return sock

    @classmethod
    def connect(cls, host: str, port: int | str, **kwargs: Any) -> Self:
        """Connect over TCP.

        Keywords: ``family``, ``socktype``, ``proto``, ``timeout`` (seconds for connecting, 3; it
        stays on the socket), ``nodelay``, ``keepalive`` (``True`` for 60 seconds, or a whole number
        of seconds), ``attempts`` (6; only time-outs are tried again), or ``ipv6=True``.

        Raises ``OSError`` if that fails.
        """
        if kwargs.pop("ipv6", False):
            kwargs["family"] = socket.AF_INET6
        return cls(cls._connect(host, port, **kwargs))

    @classmethod
    def unix_connect(cls, path: str | bytes, timeout: float | None = 3) -> Self:
        """Connect to a Unix socket. Raises ``OSError`` if that fails."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    @classmethod
    def ssl_connect(
        cls, host: str, port: int | str, ssl_kwargs: dict[str, Any], **kwargs: Any
    ) -> Self:
        """Connect over TLS.

        Takes out of ``ssl_kwargs``: ``ssl_version`` (makes a bare context; otherwise it is Python's
        default for clients), ``certfile``, ``keyfile``, ``ca_certs``, ``ciphers``,
        ``check_hostname``, ``cert_reqs``. The rest goes to ``wrap_socket``. ``kwargs`` are those of
        :meth:`connect`.

        Raises ``OSError`` (``ssl.SSLError`` is one) if that fails, and ``ValueError`` for
        contradictory settings.
        """
        if kwargs.pop("ipv6", False):
            kwargs["family"] = socket.AF_INET6
        context = client_context(ssl_kwargs)
        ssl_kwargs.setdefault("server_hostname", host)
        sock = cls._connect(host, port, **kwargs)
        try:
            return cls(context.wrap_socket(sock, **ssl_kwargs))
        except BaseException:
            sock.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self.sock is ClosedFile

    def close(self) -> None:
        """Shut down both directions and close the socket."""
        is_down = _stop_engine(self)
        sock, self.sock = self.sock, ClosedFile
        if sock is ClosedFile:
            return
        if not is_down:
            # Wakes a thread that is blocked in a read; close() alone does not.
            with contextlib.suppress(Exception):
                sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            sock.close()

    def fileno(self) -> int:
        """The socket's descriptor."""
        number: int = self.sock.fileno()
        return number

    def poll(self, timeout: float | Timeout | None) -> bool:
        """Whether there is something to read; the end of the stream counts too.

        Waits up to ``timeout`` seconds; ``None`` is no limit. Raises ``EOFError`` if the stream is
        closed.
        """
        # A TLS socket may hold bytes that have left the descriptor already.
        pending = getattr(self.sock, "pending", None)
        if pending is not None and self._in_turn(pending) > 0:
            return True
        return super().poll(timeout)

    def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes; a time-out of the socket does not end that."""
        return collect(
            self, count, lambda most: self._retry(self.sock.recv, min(self.MAX_IO_CHUNK, most), "r")
        )

    def write(self, data: bytes) -> None:
        """Write all of ``data``; a time-out of the socket does not end that."""
        for chunk in chunks(data, self.MAX_IO_CHUNK):
            sent = 0
            while sent < len(chunk):
                sent += self._retry(self.sock.send, chunk[sent:], "w")

    def _part_reader(self) -> PartReader | None:
        cls = type(self)
        return self._read_some if cls.read is _socket_read and cls.poll is _socket_poll else None

    def _read_some(self, most: int, limit: Timeout) -> bytes | None:
        while self.poll(limit):
            try:
                # What makes a TLS socket readable may be less than a record, or not be for us at all.
                part: bytes = self._in_turn(self.sock.recv, min(self.MAX_IO_CHUNK, most))
                return part
            except (OSError, ValueError) as error:
                needed = self._needed(error, "r")
            if needed == "w":
                left = limit.timeleft()
                # A bound, as in _retry.
                wait_for(self.fileno(), needed, 1.0 if left is None else min(left, 1.0))
        return None

    def _retry(self, operation: Callable[[Any], Any], argument: Any, mode: str) -> Any:
        """Call a method of the socket until it did something.

        It ends with the connection: another thread may close it, and so may the peer.
        """
        while True:
            try:
                return self._in_turn(operation, argument)
            except (OSError, ValueError) as error:
                needed = self._needed(error, mode)
            if needed is not None:
                # A bound, since a gevent or TLS socket may have moved on without the descriptor.
                wait_for(self.fileno(), needed, 1.0)

    def _in_turn(self, operation: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the socket, of a TLS socket while no other thread does; it does not block then."""
        # A subclass may have a constructor of its own.
        turn = getattr(self, "_turn", None)
        if turn is None:
            return operation(*args)
        with turn:
            if self.sock.gettimeout() != 0:
                self.sock.setblocking(False)
            return operation(*args)

    def _needed(self, error: OSError | ValueError, mode: str) -> str | None:
        """What to wait for before the operation that failed is tried again; ``None``: nothing.

        Raises ``EOFError`` if there is no use in that.
        """
        if self.closed:
            raise EOFError(CLOSED_TEXT) from None
        if timed_out(error):
            return None
        needed = would_block(error, mode)
        if needed is None:
            self.close()
            raise EOFError(error) from error
        return needed


def _is_tls(sock: object) -> bool:
    """Whether a socket is one of Python's TLS sockets. If there is one, ssl is loaded."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(sock, ssl.SSLSocket)


_socket_read, _socket_poll = SocketStream.read, SocketStream.poll


class TunneledSocketStream(SocketStream):
    """A stream over a socket that needs a tunnel: ``tun`` is closed with it, if it is set."""

    __slots__ = ("tun",)

    tun: Any

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.tun = None

    def close(self) -> None:
        """Close the socket, then the tunnel."""
        super().close()
        if self.tun:
            self.tun.close()


class PipeStream(Stream):
    """A stream over two pipes. ``incoming`` and ``outgoing`` are binary files."""

    __slots__ = ("_engine_io", "incoming", "outgoing")

    MAX_IO_CHUNK: ClassVar[int] = STREAM_CHUNK
    """The most bytes passed to one call of the operating system."""

    incoming: Any
    outgoing: Any
    _engine_io: _EngineIO | None

    def __init__(self, incoming: IO[Any], outgoing: IO[Any]) -> None:
        outgoing.flush()
        self.incoming = incoming
        self.outgoing = outgoing
        self._engine_io = None

    @classmethod
    def from_std(cls) -> Self:
        """Make a stream of the process's standard input and output.

        ``sys.stdin`` and ``sys.stdout`` become null files, since what is printed there would
        disturb the protocol.
        """
        stream = cls(sys.stdin, sys.stdout)
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for the rest of the process
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - likewise
        return stream

    @classmethod
    def create_pair(cls) -> tuple[Self, Self]:
        """Return two streams; what is written to the one is read from the other."""
        read1, write1 = os.pipe()
        read2, write2 = os.pipe()
        side1 = cls(os.fdopen(read1, "rb"), os.fdopen(write2, "wb"))
        side2 = cls(os.fdopen(read2, "rb"), os.fdopen(write1, "wb"))
        return side1, side2

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self.incoming is ClosedFile

    def close(self) -> None:
        """Close both pipes."""
        _stop_engine(self)
        files = (self.incoming, self.outgoing)
        self.incoming = self.outgoing = ClosedFile
        for file in files:
            with contextlib.suppress(OSError):
                file.close()

    def fileno(self) -> int:
        """The descriptor of the incoming pipe."""
        number: int = self.incoming.fileno()
        return number

    def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        return collect(
            self,
            count,
            lambda most: self._retry(os.read, self.incoming, min(self.MAX_IO_CHUNK, most), "r"),
        )

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""
        for chunk in chunks(data, self.MAX_IO_CHUNK):
            sent = 0
            while sent < len(chunk):
                sent += self._retry(os.write, self.outgoing, chunk[sent:], "w")

    def _part_reader(self) -> PartReader | None:
        cls = type(self)
        return self._read_some if cls.read is _pipe_read and cls.poll is _pipe_poll else None

    def _read_some(self, most: int, limit: Timeout) -> bytes | None:
        if not self.poll(limit):
            return None
        part: bytes = self._retry(os.read, self.incoming, min(self.MAX_IO_CHUNK, most), "r")
        return part

    def _retry(
        self, operation: Callable[[int, Any], Any], file: Any, argument: Any, mode: str
    ) -> Any:
        """Call ``operation`` on the file's descriptor until it did something."""
        while True:
            try:
                return operation(file.fileno(), argument)
            except BlockingIOError:
                # A bound, to notice that another thread closed the stream.
                wait_for(file.fileno(), mode, 1.0)
            except (OSError, ValueError) as error:
                if self.closed:
                    raise EOFError(CLOSED_TEXT) from None
                self.close()
                raise EOFError(error) from error


_pipe_read, _pipe_poll = PipeStream.read, PipeStream.poll


def _stop_engine(stream: SocketStream | PipeStream) -> bool:
    """Make the engine let go of a stream that it drives; whether that has shut it down."""
    # A subclass may have its own constructor, and then the slot is empty.
    engine_io = getattr(stream, "_engine_io", None)
    return engine_io is not None and bool(engine_io.close())


def _is_address(host: object, port: object, family: int) -> bool:
    """Whether host and port can be connected to as they are: looking them up takes longer than connecting."""
    if type(host) is not str or type(port) is not int or family != socket.AF_INET:
        return False
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return 0 <= port <= _LAST_PORT
