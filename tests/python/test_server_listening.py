"""Where servers listen, what becomes of failures there, and whom they tell of it."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import threading
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually
from server_services import Echo

import rpyc
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import ThreadedServer


def test_listens_on_ipv6(leak_check: None) -> None:
    server = ThreadedServer(Echo, hostname="::1", ipv6=True)
    server._start_in_thread()
    try:
        assert server.host == "::1"
        with rpyc.connect("::1", server.port, ipv6=True) as conn:
            assert conn.root.echo(3) == 3
    finally:
        server.close()


def test_errors_of_the_address_say_which(rig: Rig) -> None:
    server = rig.serve(Echo)
    with pytest.raises(OSError, match=rf"cannot listen on \[127.0.0.1\]:{server.port}") as info:
        ThreadedServer(Echo, hostname="127.0.0.1", port=server.port)
    assert info.value.errno == errno.EADDRINUSE
    with pytest.raises(socket.gaierror):
        ThreadedServer(Echo, hostname="no.such.host.invalid")


def test_a_unix_socket_goes_with_its_server(rig: Rig) -> None:
    server = rig.serve(Echo, unix=True)
    assert (server.host, os.path.exists(server.port)) == ("", True)
    conn = unix_connect(server.port)
    rig.on_end(close_quietly, conn)
    assert conn.root.echo(1) == 1
    server.close()
    assert not os.path.exists(server.port)


def test_an_existing_unix_socket_is_left_alone(rig: Rig) -> None:
    path = str(rig.directory() / "socket")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        with pytest.raises(OSError, match=f"cannot listen on {path}") as info:
            ThreadedServer(Echo, socket_path=path)
    assert info.value.errno == errno.EADDRINUSE
    assert os.path.exists(path)


def test_a_replaced_unix_socket_is_left_alone(rig: Rig) -> None:
    server = rig.serve(Echo, unix=True)
    os.unlink(server.port)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(server.port)
        server.close()
        assert os.path.exists(server.port)


def test_a_unix_socket_excludes_tcp_parameters(tmp_path: Any) -> None:
    for parameter in ({"hostname": "localhost"}, {"port": 1}, {"ipv6": True}):
        with pytest.raises(ValueError, match="socket_path"):
            ThreadedServer(Echo, socket_path=str(tmp_path / "socket"), **parameter)


class FlakyListener:
    """A listening socket whose accept fails once."""

    def __init__(self, listener: socket.socket, failure: OSError) -> None:
        self._listener = listener
        self.failures = [failure]

    def accept(self) -> Any:
        if self.failures:
            raise self.failures.pop()
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ECONNABORTED])
def test_a_passing_failure_of_accept_is_survived(rig: Rig, error: int) -> None:
    server = ThreadedServer(Echo, hostname="127.0.0.1")
    listener: Any = FlakyListener(server.listener, OSError(error, os.strerror(error)))
    server.listener = listener
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    assert rig.connect(server).root.echo(2) == 2
    assert listener.failures == []


def test_a_broken_listener_ends_the_server(rig: Rig) -> None:
    server = ThreadedServer(Echo, hostname="127.0.0.1")
    listener: Any = FlakyListener(server.listener, OSError(errno.ENOTSOCK, "broken"))
    server.listener = listener
    thread = server._start_in_thread()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not server.active


def test_a_client_that_left_before_it_was_served_is_no_error(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    server = rig.serve(Echo)
    with caplog.at_level(logging.INFO):
        sock = socket.create_connection(("127.0.0.1", server.port))
        # A linger time of zero resets the connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        assert rig.connect(server).root.echo(1) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class FakeRegistrar:
    """A registry client that only notes what it is told."""

    REREGISTER_INTERVAL = 60

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.told: list[Any] = []

    def register(self, aliases: Any, port: int, interface: str = "") -> bool:
        answer = self.answers.pop(0) if self.answers else True
        self.told.append(("register", aliases, port, interface))
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def unregister(self, port: int) -> None:
        self.told.append(("unregister", port))


@pytest.mark.parametrize("first", [True, False, OSError("no network")])
def test_a_server_registers_and_unregisters(leak_check: None, first: Any) -> None:
    registrar: Any = FakeRegistrar(first)
    server = ThreadedServer(Echo, hostname="127.0.0.1", registrar=registrar)
    assert server.auto_register
    server._start_in_thread()
    entry = ("register", ("ECHO",), server.port, "127.0.0.1")
    eventually(lambda: len(registrar.told) == (1 if first is True else 2))
    assert set(registrar.told) == {entry}
    server.close()
    assert registrar.told[-1] == ("unregister", server.port)


def test_a_registration_that_overlaps_the_close_is_withdrawn(leak_check: None) -> None:
    class Slow(FakeRegistrar):
        begun, go_on = threading.Event(), threading.Event()

        def register(self, aliases: Any, port: int, interface: str = "") -> bool:
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
            return super().register(aliases, port, interface)

    registrar: Any = Slow()
    server = ThreadedServer(Echo, hostname="127.0.0.1", registrar=registrar)
    server._start_in_thread()
    assert registrar.begun.wait(PATIENCE)
    server.close()
    registrar.go_on.set()
    eventually(lambda: len(registrar.told) == 3)
    assert [entry[0] for entry in registrar.told] == ["unregister", "register", "unregister"]
