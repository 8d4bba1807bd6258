"""Bare Python sockets that move as many bytes as a call does, and nothing else.

::

    socket_end.py server tcp|unix [PATH]        # prints {"address": ...}
    socket_end.py client tcp|unix ADDRESS

A request is its own size and that of the reply, in 16 bytes, and the rest. Large ones are received into memory made
for them, since what a call receives is its caller's to keep; the Rust floor receives into the same memory every time.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
import sys
import threading
from typing import Any

from measuring import MIB, SIZES, Workload, obey, repeated, require, say, wait_for_end

HEAD = struct.Struct("!QQ")

REQUEST, REPLY = 81, 16
"""Bytes of a held call and of its answer, as rpyc 6.0.2 frames them."""


def serve(transport: str, path: str) -> None:
    """Serves each connection in a thread, until standard input ends."""
    listener = socket.socket(socket.AF_UNIX if transport == "unix" else socket.AF_INET)
    listener.bind(path if transport == "unix" else ("127.0.0.1", 0))
    listener.listen(1024)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    address = path if transport == "unix" else f"127.0.0.1:{listener.getsockname()[1]}"
    say(address=address, version=platform.python_version(), python=platform.python_version())
    wait_for_end()


def accept(listener: socket.socket) -> None:
    """Takes connections for ever."""
    while True:
        sock, _ = listener.accept()
        set_up(sock)
        threading.Thread(target=answer, args=(sock,), daemon=True).start()


def answer(sock: socket.socket) -> None:
    """Requests and replies until the client hangs up. A reply as long as the request is the request, back."""
    with sock:
        while head := sock.recv(REQUEST):
            while len(head) < HEAD.size:
                head += sock.recv(REQUEST - len(head))
            request, reply = HEAD.unpack_from(head)
            data = receive(sock, request, head)
            sock.sendall(data if reply == request else bytes(reply))


def receive(sock: socket.socket, size: int, start: bytes = b"") -> bytearray:
    """``size`` bytes, the first of which were received before."""
    data = bytearray(size)
    data[: len(start)] = start
    filled = len(start)
    with memoryview(data) as view:
        while filled < size:
            count = sock.recv_into(view[filled:])
            if not count:
                raise EOFError("the peer hung up")
            filled += count
    return data


def drive(transport: str, address: str) -> None:
    """Connects, then measures what standard input asks for."""

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX if transport == "unix" else socket.AF_INET)
        host, _, port = address.rpartition(":")
        sock.connect(address if transport == "unix" else (host, int(port)))
        set_up(sock)
        return sock

    sock = connect()
    say(version=platform.python_version(), python=platform.python_version())
    small = HEAD.pack(REQUEST, REPLY).ljust(REQUEST, b"\0")

    def call(sock: socket.socket, request: bytes, reply: int) -> Any:
        sock.sendall(request)
        return sock.recv(reply) if reply <= REPLY else receive(sock, reply)

    def once() -> None:
        with connect() as fresh:
            require(len(call(fresh, small, REPLY)), REPLY)

    def moving(request: int, reply: int) -> Workload:
        data = HEAD.pack(request, reply) + os.urandom(request - HEAD.size)
        require(len(call(sock, data, reply)), reply)
        return Workload(repeated(lambda: call(sock, data, reply)), long=True)

    makers: dict[str, Any] = {
        "held": lambda: Workload(repeated(lambda: call(sock, small, REPLY))),
        "connect": lambda: Workload(repeated(once)),
        "numpy16": lambda: moving(16 * MIB, REPLY),
    }
    for size in SIZES:
        makers[f"push{size}"] = lambda size=size: moving(size * MIB, REPLY)
        makers[f"echo{size}"] = lambda size=size: moving(size * MIB, size * MIB)
    obey(makers)


def set_up(sock: socket.socket) -> None:
    """Small writes leave at once; a silent peer is an error."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)


if __name__ == "__main__":
    (serve if sys.argv[1] == "server" else drive)(sys.argv[2], (*sys.argv, "")[3])
