"""Channels and streams of a program's own: subclassed, patched, or only alike."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Rig, in_thread
from served_things import Service

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream
from rpyc.lib import Timeout


class Tunnel:
    """A stream that is no subclass of anything: a socket whose bytes are all turned around."""

    MAX_IO_CHUNK = 8000

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.closed = False
        self.polled: list[Any] = []

    def fileno(self) -> int:
        """There is no descriptor to wait for."""
        raise EOFError("no descriptor")

    def poll(self, timeout: Any) -> bool:
        """True if there is something to read, or nothing ever again; the timeout is a `rpyc.lib.Timeout`."""
        import select

        self.polled.append(timeout)
        left = timeout.timeleft() if isinstance(timeout, Timeout) else timeout
        return bool(self.closed or select.select([self._sock], [], [], left)[0])

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        while len(data) < count:
            piece = b"" if self.closed else self._sock.recv(count - len(data))
            if not piece:
                self.close()
                raise EOFError("the tunnel has ended")
            data += piece
        return bytes(255 - byte for byte in data)

    def write(self, data: bytes) -> None:
        """All of it."""
        if self.closed:
            raise EOFError("the tunnel has ended")
        try:
            self._sock.sendall(bytes(255 - byte for byte in bytes(data)))
        except OSError as error:
            self.close()
            raise EOFError(str(error)) from error

    def close(self) -> None:
        """Both directions."""
        if not self.closed:
            self.closed = True
            self._sock.close()


@pytest.fixture
def tunnels() -> Iterator[tuple[Tunnel, Tunnel]]:
    """The two ends of a tunnel."""
    left, right = map(Tunnel, socket.socketpair())
    yield left, right
    left.close()
    right.close()


def test_duck_typed_stream(rig: Rig, tunnels: tuple[Tunnel, Tunnel]) -> None:
    """A connection over it does everything: calls, callbacks, large data, failures, a clean end."""
    near: Any
    far: Any
    near, far = tunnels
    served = in_thread(lambda: rpyc.connect_stream(far, Service).serve_all())
    client = rpyc.connect_stream(near)
    rig.on_end(client.close)
    assert client.root.same((1, "two")) == (1, "two")
    assert client.root.call(lambda v: v * 2, 21) == 42
    assert client.root.same(b"x" * 300_000) == b"x" * 300_000
    with pytest.raises(ValueError, match="on purpose"):
        client.root.fail()
    assert client.root.make().method(1) == 2
    result = rpyc.async_(client.root.same)(5)
    assert result.value == 5
    assert near.polled and all(isinstance(timeout, Timeout) for timeout in near.polled)
    client.close()
    served.result(10)
    assert near.closed and far.closed


def test_channel_subclass(rig: Rig) -> None:
    """A channel that counts and changes what passes."""
    class Counting(Channel):
        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.sent = self.received = 0

        def send(self, data: bytes) -> None:
            self.sent += 1
            super().send(bytes(data)[::-1])

        def recv(self) -> bytes:
            data = super().recv()
            self.received += 1
            return bytes(data)[::-1]

    left, right = socket.socketpair()
    served = in_thread(lambda: rpyc.utils.factory.connect_channel(Counting(SocketStream(right)), Service).serve_all())
    channel = Counting(SocketStream(left))
    client = rpyc.utils.factory.connect_channel(channel)
    client.ping("data")
    assert (channel.sent, channel.received) == (1, 1)
    assert client.root.same(b"q" * 100_000) == b"q" * 100_000
    assert client.root.call(lambda: "called back") == "called back"
    client.close()
    served.result(10)


def test_stream_subclass(rig: Rig) -> None:
    """A socket stream that records its bytes."""
    class Recording(SocketStream):
        __slots__ = ("read_bytes", "written")

        def __init__(self, sock: socket.socket) -> None:
            super().__init__(sock)
            self.written = self.read_bytes = b""

        def write(self, data: bytes) -> None:
            self.written += bytes(data)
            super().write(data)

        def read(self, count: int) -> bytes:
            data = bytes(super().read(count))
            self.read_bytes += data
            return data

    left, right = socket.socketpair()
    served = in_thread(lambda: rpyc.connect_stream(SocketStream(right), Service).serve_all())
    stream = Recording(left)
    client = rpyc.connect_stream(stream)
    client.ping("data")
    request = brine.dump((0, (consts.HANDLE_PING, (consts.LABEL_VALUE, ("data",)))))
    assert stream.written == (len(request) + 1).to_bytes(4, "big") + b"\0\x01" + request + b"\n"
    assert stream.read_bytes.endswith(brine.dump((0, (consts.LABEL_VALUE, "data"))) + b"\n")
    client.close()
    served.result(10)


def test_a_patched_constant_of_the_channel_takes_effect(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The native driver knows no other level, so the channel's own methods send."""
    sent: list[int] = []

    class Zlib:
        def __getattr__(self, name: str) -> Any:
            return getattr(zlib, name)

        def compress(self, data: bytes, level: int) -> bytes:
            sent.append(level)
            return zlib.compress(data, level)

    monkeypatch.setattr("rpyc.core.channel.zlib", Zlib())
    monkeypatch.setattr(Channel, "COMPRESSION_LEVEL", 9)
    conn = rig.pair(Service()).client
    assert conn.ping(b"x" * 5000) == b"x" * 5000
    assert sent and set(sent) == {9}


def test_descriptor_may_be_wrapped(rig: Rig) -> None:
    """`socket.fromfd(conn.fileno(), ...)` is the common way to ask for the peer's name."""
    server = rig.serve(Service)
    client = rig.connect(server)
    client.ping()
    with socket.fromfd(client.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wrapped:
        assert wrapped.getpeername() == ("127.0.0.1", server.port)
    assert client._channel.stream.sock.getpeername() == ("127.0.0.1", server.port)
    assert client.root.same(1) == 1
