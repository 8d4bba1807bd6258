"""Servers: what they share, and what is special about each kind."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import (
    PATIENCE,
    Rig,
    close_quietly,
    eventually,
    in_thread,
    in_threads,
    open_descriptors,
)

import rpyc
from rpyc.core import brine, consts
from rpyc.utils.authenticators import AuthenticationError
from rpyc.utils.factory import connect_stream, unix_connect
from rpyc.utils.helpers import classpartial
from rpyc.utils.server import ForkingServer, OneShotServer, Server, ThreadedServer, ThreadPoolServer

# Python 3.12 warns of forking next to threads. The tests have threads; a program with a forking server need not.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

ALL_KINDS = [ThreadedServer, ThreadPoolServer, ForkingServer, OneShotServer]
LASTING_KINDS = [ThreadedServer, ThreadPoolServer]


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
    """Has a request that lasts until it is let go, and one that does not."""

    entered = threading.Semaphore(0)
    opened = threading.Event()

    def exposed_wait(self) -> bool:
        self.entered.release()
        return self.opened.wait(PATIENCE)

    def exposed_quick(self) -> int:
        return 1


@pytest.fixture
def gate() -> Iterator[type[Gate]]:
    """The service with fresh events; whoever waits is let go at the end."""
    Gate.entered, Gate.opened = threading.Semaphore(0), threading.Event()
    yield Gate
    Gate.opened.set()


# --------------------------------------------------------------------- all kinds


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_serves_a_connection(rig: Rig, kind: type[Server], unix: bool) -> None:
    server = rig.serve(Echo, kind=kind, unix=unix)
    conn = rig.connect(server)
    assert conn.root.echo("hello") == "hello"
    assert conn.root.call(lambda value: value + 1, 5) == 6
    assert (conn.root.process() == os.getpid()) == (kind is not ForkingServer)
    assert conn.root.config("credentials") is None
    if not unix:
        assert conn.root.config("endpoints")[0] == (server.host, server.port)
        assert conn.root.no_delay() != 0


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_sockets_leave_clients_when_their_connection_ends(rig: Rig, kind: type[Server]) -> None:
    server = rig.serve(Echo, kind=kind)
    conn = rig.connect(server)
    conn.ping()
    if kind is ForkingServer:
        eventually(lambda: not server.clients)
    else:
        assert len(server.clients) == 1
    conn.close()
    eventually(lambda: not server.clients)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_service_class_makes_one_instance_per_connection(rig: Rig, kind: type[Server]) -> None:
    class Numbered(rpyc.Service):
        def __init__(self, number: int) -> None:
            self.number = number

        def exposed_number(self) -> int:
            self.number += 1
            return self.number

    server = rig.serve(classpartial(Numbered, 5), kind=kind)
    assert server.service.get_service_name() == "NUMBERED"
    first = rig.connect(server)
    assert [first.root.number(), first.root.number()] == [6, 7]
    if kind is not OneShotServer:
        assert rig.connect(server).root.number() == 6


def test_a_service_instance_is_shared(rig: Rig) -> None:
    service = Echo()
    server = rig.serve(service)
    for _ in range(2):
        rig.connect(server).ping()
    assert len(service.came) == 2


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_close_wakes_the_accept_loop_at_once(kind: type[Server], leak_check: None) -> None:
    server = kind(Echo, hostname="127.0.0.1", listener_timeout=30)
    thread = server._start_in_thread()
    server.close()
    thread.join(2)
    assert not thread.is_alive()
    assert not server.active
    assert server.listener.fileno() == -1
    server.close()
    with pytest.raises(OSError, match="was closed"):
        server.start()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_server_that_never_started_can_be_closed(kind: type[Server], leak_check: None) -> None:
    server = kind(Echo, hostname="127.0.0.1")
    server.accept()
    server.close()


@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_close_disconnects_a_hundred_clients_within_a_second(rig: Rig, kind: type[Server]) -> None:
    service = Echo()
    threads, descriptors = threading.active_count(), len(open_descriptors())
    server = rig.serve(service, kind=kind)
    conns = [rig.connect(server) for _ in range(100)]
    for conn in conns:
        assert conn.root.echo(1) == 1
    assert len(server.clients) == 100
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 1
    eventually(lambda: len(service.went) == 100)
    for conn in conns:
        with pytest.raises(EOFError):
            conn.root.echo(1)
        conn.close()
    eventually(
        lambda: threading.active_count() <= threads and len(open_descriptors()) <= descriptors
    )
    assert len(set(map(id, service.went))) == 100
    assert not server.clients


@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_close_from_within_a_request_does_not_wait_for_it(rig: Rig, kind: type[Server]) -> None:
    took: list[float] = []

    class Closer(rpyc.Service):
        def exposed_close(self) -> None:
            began = time.monotonic()
            server.close()
            took.append(time.monotonic() - began)

    server = rig.serve(Closer, kind=kind)
    with pytest.raises(EOFError):
        rig.connect(server).root.close()
    eventually(lambda: took)
    assert took[0] < 0.4


@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_close_does_not_wait_for_a_long_request(
    rig: Rig, kind: type[Server], gate: type[Gate]
) -> None:
    server = rig.serve(gate, kind=kind)
    conn = rig.connect(server)
    waiting = in_thread(lambda: conn.root.wait())
    assert gate.entered.acquire(timeout=PATIENCE)
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 1
    with pytest.raises(EOFError):
        waiting.result(PATIENCE)
    gate.opened.set()
    eventually(lambda: not server.clients)


def test_starting_is_logged_in_the_words_that_programs_parse(
    caplog: pytest.LogCaptureFixture, rig: Rig
) -> None:
    with caplog.at_level(logging.INFO):
        server = rig.serve(Echo)
    assert f"server started on [127.0.0.1]:{server.port}" in caplog.messages
    assert server.logger.name == f"ECHO/{server.port}"


def test_the_config_is_read_for_each_connection(rig: Rig) -> None:
    config: dict[str, Any] = {"allow_public_attrs": False}
    server = rig.serve(Echo, config)
    assert server.protocol_config is config
    assert config["logger"] is server.logger
    assert rig.connect(server).root.config("allow_public_attrs") is False
    config["allow_public_attrs"] = True
    assert rig.connect(server).root.config("allow_public_attrs") is True
    server.protocol_config = {"connid": "new one"}
    assert rig.connect(server).root.config("connid") == "new one"


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", LASTING_KINDS)
def test_a_failing_on_connect_costs_only_its_connection(
    rig: Rig, kind: type[Server], caplog: pytest.LogCaptureFixture
) -> None:
    class Moody(Echo):
        def on_connect(self, conn: Any) -> None:
            if not self.came:
                self.came.append(None)
                raise ValueError("not today")
            super().on_connect(conn)

    server = rig.serve(Moody(), kind=kind)
    with pytest.raises(EOFError):
        rig.connect(server).root.echo(1)
    assert rig.connect(server).root.echo(1) == 1
    eventually(lambda: "client connection terminated abruptly" in caplog.messages)
    eventually(lambda: len(server.clients) == 1)


# --------------------------------------------------------------------- overriding


def test_the_hooks_of_a_server_can_be_overridden(rig: Rig) -> None:
    steps: list[str] = []

    class Own(ThreadedServer):
        def accept(self) -> None:
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                return
            except OSError:
                raise EOFError from None
            steps.append("accept")
            self.clients.add(sock)
            self._accept_method(sock)

        def _serve_client(self, sock: socket.socket, credentials: Any) -> None:
            steps.append(f"serve {credentials}")
            super()._serve_client(sock, credentials)

        def _handle_connection(self, conn: Any) -> None:
            steps.append("handle")
            super()._handle_connection(conn)

    server = rig.serve(Echo, kind=Own)
    assert rig.connect(server).root.echo(1) == 1
    assert steps == ["accept", "serve None", "handle"]


def test_a_connection_ends_with_its_overridden_handler(rig: Rig) -> None:
    service = Echo()

    class Impatient(ThreadedServer):
        def _handle_connection(self, conn: Any) -> None:
            conn.serve(PATIENCE)

    server = rig.serve(service, kind=Impatient)
    conn = rig.connect(server)
    conn.ping()
    eventually(lambda: service.went)
    with pytest.raises(EOFError):
        conn.ping()


# ----------------------------------------------------------------- authentication


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


# ------------------------------------------------------------------- Unix sockets


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


# ------------------------------------------------------------------- registration


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


# -------------------------------------------------------------------- thread pool


def test_idle_connections_of_a_pool_cost_no_thread(rig: Rig) -> None:
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", nbThreads=2, requestBatchSize=3)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    assert (server.nbthreads, server.request_batch_size) == (2, 3)
    assert [worker.name for worker in server.workers] == ["Worker0", "Worker1"]
    first = rig.connect(server)
    first.ping()
    threads = threading.active_count()
    conns = [rig.connect(server) for _ in range(50)]
    for conn in conns:
        conn.ping()
    assert len(server.fd_to_conn) == 51
    # The doorkeepers are gone again.
    eventually(lambda: threading.active_count() <= threads)
    assert conns[0].root.config("connid") == str(conns[0]._channel.stream.sock.getsockname())


def test_a_pool_serves_more_busy_clients_than_it_has_threads(rig: Rig) -> None:
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", nbThreads=2, requestBatchSize=3)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)

    def work() -> int:
        conn = rpyc.connect("127.0.0.1", server.port)
        try:
            echo = conn.root.echo
            return sum(echo(1) for _ in range(100))
        finally:
            conn.close()

    assert in_threads(*[work] * 8) == [100] * 8
    eventually(lambda: not server.clients and not server.fd_to_conn)


def test_a_batch_larger_than_the_limit_is_served_to_the_end(rig: Rig) -> None:
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", nbThreads=1, requestBatchSize=2)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    conn = rig.connect(server)
    echo = rpyc.async_(conn.root.echo)
    assert [result.value for result in [echo(number) for number in range(100)]] == list(range(100))


def test_a_cut_frame_occupies_no_worker(rig: Rig) -> None:
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", nbThreads=1)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    stuck = [rig.raw_client(server) for _ in range(3)]
    for peer in stuck:
        peer.sock.sendall(b"\0\0\1\0\0half")
    conn = rig.connect(server, sync_request_timeout=PATIENCE)
    assert conn.root.echo(7) == 7


def test_a_request_that_arrives_along_with_a_reply_is_served(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the service waits for a reply and reads, with it, a request that a worker has to serve.

    The workers are told; it does not wait until the poller looks around.
    """
    monkeypatch.setattr("rpyc.utils._servers.pool._SWEEP_INTERVAL", 3600.0)

    class Asking(Echo):
        def exposed_ask(self) -> None:
            self.asked = in_thread(
                lambda: self.came[0].async_request(consts.HANDLE_PING, "ping").value
            )

    service = Asking()
    peer = rig.raw_client(rig.serve(service, kind=ThreadPoolServer))
    _, (label, root) = peer.request(consts.HANDLE_GETROOT)
    assert label == consts.LABEL_REMOTE_REF
    boxed = (
        consts.LABEL_TUPLE,
        (
            (consts.LABEL_LOCAL_REF, root),
            *((consts.LABEL_VALUE, value) for value in ("ask", (), ())),
        ),
    )
    peer.send(b"\x01" + brine.dump((7, (consts.HANDLE_CALLATTR, boxed))))
    ping = next(payload for payload in iter(peer.receive, None) if payload[0] == consts.MSG_REQUEST)
    seq, _ = brine.load(ping[1:])
    reply = b"\x02" + brine.dump((seq, (consts.LABEL_VALUE, "ping")))
    request = b"\x01" + brine.dump((8, (consts.HANDLE_PING, (consts.LABEL_VALUE, ("pong",)))))
    # The thread reads on by now, and the worker that served "ask" has passed the connection on.
    eventually(lambda: service.came[0]._is_being_read)
    peer.sock.sendall(
        b"".join(
            struct.pack("!LB", len(payload), 0) + payload + b"\n" for payload in (reply, request)
        )
    )
    # The answer to "ask" may come first or be here already.
    assert answer_to(peer, 8) == (consts.LABEL_VALUE, "pong")
    assert service.asked.result(PATIENCE) == "ping"


def answer_to(peer: Any, seq: int) -> Any:
    """The body of the answer with this number; those before it are passed over."""
    while True:
        payload = peer.receive()
        assert payload is not None, "the stream ended"
        number, body = brine.load(payload[1:])
        if number == seq:
            return body


def test_slow_newcomers_of_a_pool_do_not_delay_who_is_served(rig: Rig, gate: type[Gate]) -> None:
    class Slow(Gate):
        def on_connect(self, conn: Any) -> None:
            if slow.is_set():
                self.exposed_wait()

    slow = threading.Event()
    server = ThreadPoolServer(Slow, hostname="127.0.0.1", nbThreads=2)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    # Before the server is closed: it waits for its doorkeepers.
    rig.on_end(gate.opened.set)
    conn = rig.connect(server)
    conn.ping()
    slow.set()
    for _ in range(4):
        rig.connect(server)
    for _ in range(2):
        assert gate.entered.acquire(timeout=PATIENCE)
    assert conn.root.quick() == 1


def test_a_pool_worker_survives_an_interrupt_raised_by_a_request(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    class Rude(Echo):
        def exposed_interrupt(self) -> None:
            raise KeyboardInterrupt

    server = ThreadPoolServer(Rude, hostname="127.0.0.1", nbThreads=1)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    with pytest.raises(EOFError):
        rig.connect(server).root.interrupt()
    assert rig.connect(server).root.echo(1) == 1


def test_a_pool_connection_closed_by_its_service_is_forgotten(rig: Rig) -> None:
    service = Echo()
    server: Any = rig.serve(service, kind=ThreadPoolServer)
    conn = rig.connect(server)
    conn.ping()
    eventually(lambda: service.came)
    in_thread(service.came[0].close)
    with pytest.raises(EOFError):
        conn.serve(PATIENCE)
    eventually(lambda: service.went and not server.clients and not server.fd_to_conn)
    assert len(service.went) == 1


# ------------------------------------------------------------------------ forking


def test_children_are_reaped_by_the_handler_of_the_main_thread(rig: Rig) -> None:
    calls: list[int] = []
    previous = signal.signal(signal.SIGCHLD, lambda signum, frame: calls.append(signum))
    rig.on_end(signal.signal, signal.SIGCHLD, previous)
    before = signal.getsignal(signal.SIGCHLD)
    server: Any = rig.serve(Echo, kind=ForkingServer)
    conn = rig.connect(server)
    child = conn.root.process()
    assert server._children == {child}
    conn.close()
    eventually(lambda: not server._children)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)
    eventually(lambda: calls)
    server.close()
    assert signal.getsignal(signal.SIGCHLD) is before


def test_children_are_reaped_without_a_handler(rig: Rig) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    server: Any = in_thread(lambda: ForkingServer(Echo, hostname="127.0.0.1")).result(PATIENCE)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    assert signal.getsignal(signal.SIGCHLD) is before
    conn = rig.connect(server)
    child = conn.root.process()
    conn.close()
    eventually(lambda: not server._children)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)


def test_children_outlive_a_forking_server(rig: Rig) -> None:
    server: Any = rig.serve(Echo, kind=ForkingServer)
    conn = rig.connect(server)
    assert conn.root.echo(1) == 1
    server.close()
    assert conn.root.echo(2) == 2
    conn.close()
    eventually(lambda: not server._children)


def test_a_child_exits_cleanly(rig: Rig) -> None:
    """With status 0, what it printed written once, and without the exit handlers of its parent."""
    program = rig.program(FORKING_PROGRAM)
    port = int(program.line())
    conn = rpyc.connect("127.0.0.1", port)
    conn.root.say("child")
    conn.close()
    assert program.line() == "child"
    assert program.line() == "status 0"
    program.tell()
    assert program.line() == "exit"
    assert program.wait() == 0


FORKING_PROGRAM = """
import atexit, os, sys, rpyc
from rpyc.utils.server import ForkingServer
real = os.waitpid
def waitpid(pid, options):
    found, status = real(pid, options)
    if found:
        print("status", status, flush=True)
    return found, status
os.waitpid = waitpid
atexit.register(print, "exit")
class Talker(rpyc.Service):
    def exposed_say(self, text):
        sys.stdout.write(text + "\\n")
server = ForkingServer(Talker, hostname="127.0.0.1")
thread = server._start_in_thread()
print(server.port, flush=True)
sys.stdin.readline()
server.close()
thread.join()
"""


# ------------------------------------------------------------------------ one shot


def test_a_one_shot_server_closes_itself(rig: Rig) -> None:
    server: Any = rig.serve(Echo, kind=OneShotServer)
    conn = rig.connect(server)
    assert conn.root.echo(1) == 1
    conn.close()
    eventually(lambda: server._closed)
    eventually(lambda: server.listener._closed)
    eventually(lambda: not server.clients)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port))


# ------------------------------------------------------------------------- gevent


def test_gevent_serves_many_clients_in_one_thread(rig: Rig) -> None:
    """Twenty clients wait half a second each, in the server's only thread, at the same time."""
    program = rig.program(GEVENT_PROGRAM)
    assert program.line(30) == "sum 190"
    assert program.line() == "threads 1"
    took = float(program.line().split()[1])
    assert 0.5 <= took < 5
    assert program.wait() == 0


GEVENT_PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, threading, time, rpyc
from rpyc.utils.server import GeventServer
class Sleeper(rpyc.Service):
    def exposed_sleep(self, number):
        gevent.sleep(0.5)
        threads.add(gevent.get_hub())
        return number
threads = set()
server = GeventServer(Sleeper, hostname="127.0.0.1")
greenlet = gevent.spawn(server.start)
gevent.sleep(0)
def client(number):
    conn = rpyc.connect("127.0.0.1", server.port)
    got = conn.root.sleep(number)
    conn.close()
    return got
began = time.monotonic()
jobs = [gevent.spawn(client, number) for number in range(20)]
gevent.joinall(jobs, timeout=20)
took = time.monotonic() - began
print("sum", sum(job.value for job in jobs))
print("threads", len(threads))
print("took", took)
server.close()
greenlet.join(5)
assert greenlet.dead
"""


# --------------------------------------------------------------------- interrupts


def test_ctrl_c_ends_a_server(rig: Rig) -> None:
    program = rig.program(
        "import rpyc, sys\n"
        "from rpyc.utils.server import ThreadedServer\n"
        "server = ThreadedServer(rpyc.VoidService, hostname='127.0.0.1', listener_timeout=60)\n"
        "server._listen()\n"
        "print(server.port)\n"
        "server.start()\n"
        "print('closed', server._closed)\n"
    )
    port = int(program.line())
    conn = rpyc.connect("127.0.0.1", port)
    conn.ping()
    program.process.send_signal(signal.SIGINT)
    assert program.line() == ""
    assert program.line() == "closed True"
    assert program.wait() == 0
    with pytest.raises(EOFError):
        conn.ping()
    conn.close()
