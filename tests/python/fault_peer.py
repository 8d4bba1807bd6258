"""The far side of the fault matrix: a program that forks a peer for each cell, so that none has to be started.

It reads one line per peer, ``serve`` or ``connect PORT``, and writes ``peer PID``. A peer writes ``PID port PORT`` if it
serves, and ``PID waiting`` whenever somebody waits for it. Peers end when they are killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import rpyc
from rpyc.core.stream import SocketStream
from rpyc.utils.server import ThreadedServer


class Peer(rpyc.Service):
    """What the observed side calls."""

    def exposed_wait(self) -> None:
        say(f"{os.getpid()} waiting")
        threading.Event().wait(60)

    def exposed_call(self, function: Any) -> Any:
        return function()

    def exposed_take(self, data: bytes) -> int:
        return len(data)


def say(line: str) -> None:
    """Write a line at once and in one piece: all peers share the output."""
    os.write(1, f"{line}\n".encode())


def main() -> None:
    """Fork a peer for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            try:
                play(*line.split())
            finally:
                os._exit(0)


def play(role: str, port: str = "0") -> None:
    """Be a server, or a client that serves what it is asked for."""
    say(f"peer {os.getpid()}")
    if role == "serve":
        server = ThreadedServer(Peer, hostname="127.0.0.1", port=0)
        server._listen()
        say(f"{os.getpid()} port {server.port}")
        server.start()
    else:
        conn = rpyc.connect_stream(SocketStream.connect("127.0.0.1", port), Peer)
        conn.serve_threaded(4)


main()
