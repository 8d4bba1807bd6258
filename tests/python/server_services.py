"""What the tests of servers serve, and with which kinds of servers."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
from conftest import PATIENCE

import rpyc
from rpyc.utils.server import ForkingServer, OneShotServer, ThreadedServer, ThreadPoolServer

ALL_KINDS = [ThreadedServer, ThreadPoolServer, ForkingServer, OneShotServer]
LASTING_KINDS = [ThreadedServer, ThreadPoolServer]

# Python 3.12 warns of forking next to threads. The tests have threads; a program with a forking server need not.
MULTI_THREADED_FORKS = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
"""The mark of tests that start forking servers."""


class Echo(rpyc.Service):
    """Answers, and notes who comes and goes."""

    came: list[Any]
    went: list[Any]

    def __init__(self) -> None:
        self.came, self.went = [], []

    def on_connect(self, conn: Any) -> None:
        self.came.append(conn)

    def on_disconnect(self, conn: Any) -> None:
        self.went.append(conn)

    def exposed_echo(self, value: Any) -> Any:
        return value

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def exposed_config(self, name: str) -> Any:
        value = self.came[-1]._config[name]
        return value if isinstance(value, (int, str, tuple, type(None))) else str(value)

    def exposed_no_delay(self) -> int:
        sock = self.came[-1]._channel.stream.sock
        return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def exposed_process(self) -> int:
        return os.getpid()


class Gate(rpyc.Service):
    """Has a request that lasts until it is let go, and one that does not; see `closed_gate`."""

    entered: threading.Semaphore
    opened: threading.Event

    def exposed_wait(self) -> bool:
        self.entered.release()
        return self.opened.wait(PATIENCE)

    def exposed_quick(self) -> int:
        return 1


def closed_gate() -> type[Gate]:
    """A gate of the test's own. At its end, whoever still waits is to be let go: before the server is closed."""
    return type("Gate", (Gate,), {"entered": threading.Semaphore(0), "opened": threading.Event()})
