"""Authenticators of servers: who gets in, how long that may take, and what is warned of."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually
from server_services import LASTING_KINDS, MULTI_THREADED_FORKS, Echo

import rpyc
from rpyc.utils.authenticators import AuthenticationError
from rpyc.utils.factory import connect_stream
from rpyc.utils.server import ForkingServer, Server, ThreadedServer, ThreadPoolServer

pytestmark = MULTI_THREADED_FORKS


def knows_the_word(sock: socket.socket) -> tuple[socket.socket, str]:
    """Admits who says "sesame"."""
    if sock.recv(6) != b"sesame":
        raise AuthenticationError("wrong word")
    return sock, "ali"


def knock(rig: Rig, server: Server, word: bytes) -> Any:
    """Connect as a client that says the word first."""
    sock = socket.create_connection(("127.0.0.1", server.port))
    rig.on_end(sock.close)
    sock.sendall(word)
    conn = connect_stream(rpyc.SocketStream(sock))
    # An orderly close: a forked server would not see the end of the stream, because its other children hold this end too.
    rig.on_end(close_quietly, conn)
    return conn


def guarded(
    rig: Rig,
    kind: type[Server],
    authenticator: Callable[[socket.socket], Any],
    service: Any = Echo,
    **config: Any,
) -> Server:
    server = kind(
        service, hostname="127.0.0.1", authenticator=authenticator, protocol_config=config
    )
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    return server


@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer, ForkingServer])
def test_an_authenticator_decides(rig: Rig, kind: type[Server]) -> None:
    server = guarded(rig, kind, knows_the_word)
    assert knock(rig, server, b"sesame").root.config("credentials") == "ali"
    with pytest.raises(EOFError):
        knock(rig, server, b"barley").root.echo(1)
    assert knock(rig, server, b"sesame").root.echo(1) == 1


@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer, ForkingServer])
def test_a_silent_newcomer_delays_nobody_and_is_dropped(rig: Rig, kind: type[Server]) -> None:
    server = guarded(rig, kind, knows_the_word, endpoints_timeout=0.5)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    for sock in silent:
        rig.on_end(sock.close)
    assert knock(rig, server, b"sesame").root.echo(1) == 1
    for sock in silent:
        sock.settimeout(PATIENCE)
        assert sock.recv(1) == b""


def test_a_timeout_in_mid_handshake_is_logged_as_such(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        server = guarded(rig, ThreadedServer, knows_the_word, endpoints_timeout=0.05)
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.settimeout(PATIENCE)
            assert sock.recv(1) == b""
        eventually(
            lambda: any(
                "did not authenticate within 0.05 seconds" in text for text in caplog.messages
            )
        )


def test_an_authenticator_that_admits_too_late_is_overruled(rig: Rig) -> None:
    def sleepy(sock: socket.socket) -> Any:
        sock.recv(1)  # The end of the connection, made by the server.
        return sock, "late"

    service = Echo()
    server = guarded(rig, ThreadedServer, sleepy, service=service, endpoints_timeout=0.05)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(PATIENCE)
        assert sock.recv(1) == b""
    eventually(lambda: not server.clients)
    assert service.came == []


@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_close_ends_a_handshake(rig: Rig, kind: type[Server]) -> None:
    server = guarded(rig, kind, knows_the_word, endpoints_timeout=60)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(PATIENCE)
        eventually(lambda: server._handshakes)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 1
        assert sock.recv(1) == b""
    eventually(lambda: not server.clients)


@pytest.mark.parametrize(
    ("service", "hostname", "authenticator", "warned"),
    [
        (rpyc.SlaveService, "0.0.0.0", None, True),
        (rpyc.ClassicService(), "0.0.0.0", None, True),
        (rpyc.SlaveService, None, None, True),
        (rpyc.SlaveService, "127.0.0.1", None, False),
        (rpyc.SlaveService, "0.0.0.0", knows_the_word, False),
        (Echo, "0.0.0.0", None, False),
    ],
)
def test_full_control_for_everybody_is_warned_of(
    caplog: pytest.LogCaptureFixture,
    service: Any,
    hostname: str | None,
    authenticator: Any,
    warned: bool,
) -> None:
    server = ThreadedServer(service, hostname=hostname, authenticator=authenticator)
    server._listen()
    server.close()
    assert any("ANYBODY" in text for text in caplog.messages) == warned
