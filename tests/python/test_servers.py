"""Servers: what all kinds share, and what programs override."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread, open_descriptors
from server_services import ALL_KINDS, LASTING_KINDS, MULTI_THREADED_FORKS, Echo, closed_gate

import rpyc
from rpyc.utils.helpers import classpartial
from rpyc.utils.server import ForkingServer, OneShotServer, Server, ThreadedServer

pytestmark = MULTI_THREADED_FORKS

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
def test_close_does_not_wait_for_a_long_request(rig: Rig, kind: type[Server]) -> None:
    gate = closed_gate()
    server = rig.serve(gate, kind=kind)
    rig.on_end(gate.opened.set)
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
