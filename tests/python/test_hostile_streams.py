"""Bytes that come late, not at all, or without an end: where somebody waits for whole frames, or for the time to pass."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Rig, close_quietly, eventually, in_thread
from hostile import PythonStream
from test_tls import Certificates

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream, SocketStream
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import Server, ThreadedServer, ThreadPoolServer

HALF_A_FRAME = struct.pack("!LB", 1000, 0) + b"\x02" + bytes(10)


class PythonPipe(PipeStream):
    """Not a plain stream, so it is driven through its Python methods."""


class Echo(rpyc.Service):
    def exposed_echo(self, value: Any) -> Any:
        return value


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def plain_ends(rig: Rig, certificates: Certificates) -> tuple[Any, Callable[[bytes], object]]:
    mine, theirs = socket.socketpair()
    rig.on_end(theirs.close)
    return SocketStream(mine), theirs.sendall


def python_ends(rig: Rig, certificates: Certificates) -> tuple[Any, Callable[[bytes], object]]:
    mine, theirs = socket.socketpair()
    rig.on_end(theirs.close)
    return PythonStream(mine), theirs.sendall


def pipe_ends(rig: Rig, certificates: Certificates) -> tuple[Any, Callable[[bytes], object]]:
    mine, theirs = PythonPipe.create_pair()
    rig.on_end(theirs.close)
    return mine, theirs.write


def tls_ends(rig: Rig, certificates: Certificates) -> tuple[Any, Callable[[bytes], object]]:
    mine, theirs = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates["server.crt"], certificates["server.key"])
    accepted = in_thread(lambda: server.wrap_socket(theirs, server_side=True))
    # As after a connect with a time limit, which stays on the socket.
    mine.settimeout(3)
    stream = SocketStream(ssl._create_unverified_context().wrap_socket(mine))
    far = accepted.result(10)
    rig.on_end(far.close)
    return stream, far.sendall


ENDS = pytest.mark.parametrize("ends", [plain_ends, python_ends, pipe_ends, tls_ends])


@ENDS
def test_half_a_frame_is_no_answer(rig: Rig, certificates: Certificates, ends: Any) -> None:
    """A request ends in time although an answer has begun, or TLS has sent something of its own; what follows is read on."""
    stream, send = ends(rig, certificates)
    conn = rpyc.connect_channel(Channel(stream), rpyc.VoidService, {"sync_request_timeout": 0.3})
    rig.on_end(close_quietly, conn)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        conn.ping("first", timeout=0.3)
    payload = b"\x02" + brine.dump((1, (consts.LABEL_VALUE, "second")))
    frame = struct.pack("!LB", len(payload), 0) + payload + b"\n"
    for cut in (3, 5, 9):
        send(frame[:cut])
        with pytest.raises(TimeoutError):
            conn.ping("again", timeout=0.1)
        frame = frame[cut:]
    assert time.monotonic() - began < 10
    # The rest of that answer, to a question given up long ago, and behind it the one that somebody waits for.
    last = in_thread(lambda: conn.ping("last", timeout=10))
    payload = b"\x02" + brine.dump((4, (consts.LABEL_VALUE, "last")))
    send(frame + struct.pack("!LB", len(payload), 0) + payload + b"\n")
    assert last.result(10) == "last"


def flooded(rig: Rig, **config: Any) -> Any:
    """A connection whose peer sends requests without a pause, takes the answers, and answers nothing."""
    mine, theirs = socket.socketpair()
    conn = rpyc.connect_stream(SocketStream(mine), rpyc.VoidService, config)
    payload = b"\x01" + brine.dump((0, (consts.HANDLE_PING, (consts.LABEL_VALUE, ("x",)))))
    frame = struct.pack("!LB", len(payload), 0) + payload + b"\n"

    def flood() -> None:
        # As many as are answered follow, so there is always a next one.
        with contextlib.suppress(OSError):
            theirs.sendall(frame * 100)
            while answers := theirs.recv(1 << 16):
                theirs.sendall(frame * answers.count(b"x\n"))

    flooding = in_thread(flood)

    def end() -> None:
        with contextlib.suppress(OSError):
            theirs.shutdown(socket.SHUT_RDWR)
        flooding.result(10)
        theirs.close()
        close_quietly(conn)

    rig.on_end(end)
    return conn


@pytest.mark.parametrize("wait", ["request", "poll_all", "poll_all for some time", "close", "result"])
@pytest.mark.parametrize("served", [False, True])
def test_a_flood_prolongs_no_wait(rig: Rig, wait: str, served: bool) -> None:
    """A peer that sends without a pause kept a wait from looking at the time: requests, close and poll_all had no end."""
    conn = flooded(rig, sync_request_timeout=0.3, close_timeout=0.3)
    waits: dict[str, Callable[[], Any]] = {
        "request": lambda: conn.root,
        "poll_all": lambda: conn.poll_all(0),
        "poll_all for some time": lambda: conn.poll_all(0.3),
        "close": conn.close,
        "result": lambda: conn.async_request(consts.HANDLE_PING, "x", timeout=0.3).value,
    }
    # Where another thread reads, that one is flooded, and must go on to wake this one.
    serving = in_thread(conn.serve_all) if served else None
    result = in_thread(waits[wait])
    error = result.exception(20)
    assert isinstance(error, TimeoutError) if wait in ("request", "result") else error is None
    conn.close()
    if serving is not None:
        serving.exception(20)


def test_ctrl_c_within_a_flood(rig: Rig) -> None:
    """And it kept the main thread from seeing signals."""
    conn = flooded(rig, sync_request_timeout=30)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    rig.on_end(signal.signal, signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        conn.root.anything()


@pytest.mark.parametrize("tls", [False, True])
def test_half_frames_hold_no_workers(rig: Rig, certificates: Certificates, tls: bool) -> None:
    """More clients that have sent half a frame than a pool has threads: the next one is served all the same."""
    door = SSLAuthenticator(**certificates.of("server")) if tls else None
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", port=0, nbThreads=2, authenticator=door)
    thread = server._start_in_thread()
    rig.on_end(thread.join, 10)
    rig.on_end(server.close)
    for number in range(6):
        attacker = socket.create_connection(("127.0.0.1", server.port))
        attacker = ssl._create_unverified_context().wrap_socket(attacker) if tls else attacker
        rig.on_end(attacker.close)
        attacker.sendall(HALF_A_FRAME[: 3 + number])
    connect = rpyc.ssl_connect if tls else rpyc.connect
    conn = connect("127.0.0.1", server.port, config={"sync_request_timeout": 10})
    rig.on_end(close_quietly, conn)
    assert [conn.root.echo(number) for number in range(20)] == list(range(20))
    # And what is large arrives, in parts.
    assert conn.root.echo(bytes(3_000_000)) == bytes(3_000_000)


def test_programs_that_override_reading_are_obeyed(rig: Rig) -> None:
    """A channel or stream of a program's own is asked for whole frames, as ever."""
    read = []

    class Reading(SocketStream):
        def read(self, count: int) -> bytes:
            read.append(count)
            return super().read(count)

    class Receiving(Channel):
        def recv(self) -> bytes:
            read.append(-1)
            return super().recv()

    for channel, kind in ((Channel, Reading), (Receiving, PythonStream)):
        mine, theirs = socket.socketpair()
        serving = rpyc.connect_stream(SocketStream(theirs), Echo)
        ended = in_thread(serving.serve_all)
        conn = rpyc.connect_channel(channel(kind(mine)))
        assert conn.root.echo("x") == "x"
        conn.close()
        ended.result(10)
    assert 5 in read and -1 in read


# Python's own TLS socket, of a connection that is reset before it has looked at it, is closed by its deallocation.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer])
def test_a_handshake_that_is_broken_off(rig: Rig, certificates: Certificates, kind: type[Server]) -> None:
    """A client that resets, leaves or talks of something else within TLS's handshake is a line in the log, and no traceback."""
    text = io.StringIO()
    logger = logging.Logger("handshakes")
    logger.addHandler(logging.StreamHandler(text))
    server = kind(Echo, hostname="127.0.0.1", port=0, authenticator=SSLAuthenticator(**certificates.of("server")), logger=logger)
    thread = server._start_in_thread()
    rig.on_end(thread.join, 10)
    rig.on_end(server.close)

    def accepted(clients: int) -> bool:
        return text.getvalue().count("accepted") == clients

    attempts = itertools.product((b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.0\r\n\r\n"), (False, True))
    for number, (said, reset) in enumerate(attempts, 1):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(said)
        eventually(functools.partial(accepted, number))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        eventually(lambda: not server.clients)
    assert "Traceback" not in text.getvalue() and text.getvalue().count("TLS handshake failed") >= 3
