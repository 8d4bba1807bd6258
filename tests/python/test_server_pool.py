"""The server with a thread pool."""

from __future__ import annotations

import struct
import threading
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread, in_threads
from server_services import Echo, Gate

import rpyc
from rpyc.core import brine, consts
from rpyc.utils.server import ThreadPoolServer


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


def test_a_worker_that_lingers_with_a_client_leaves_it_for_others(rig: Rig) -> None:
    """A client that calls without a pause has the only worker most of the time, not all of it."""
    server = ThreadPoolServer(Echo, hostname="127.0.0.1", nbThreads=1)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    busy, other = rig.connect(server), rig.connect(server, sync_request_timeout=PATIENCE)
    ended = threading.Event()

    def call_without_a_pause() -> int:
        calls = 0
        while not ended.is_set():
            assert busy.root.echo(calls) == calls
            calls += 1
        return calls

    calls = in_thread(call_without_a_pause)
    for number in range(50):
        assert other.root.echo(number) == number
    ended.set()
    assert calls.result(PATIENCE) > 0


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


def test_slow_newcomers_of_a_pool_do_not_delay_who_is_served(rig: Rig) -> None:
    class Slow(Gate):
        entered, opened = threading.Semaphore(0), threading.Event()

        def on_connect(self, conn: Any) -> None:
            if slow.is_set():
                self.exposed_wait()

    slow = threading.Event()
    server = ThreadPoolServer(Slow, hostname="127.0.0.1", nbThreads=2)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    conn = rig.connect(server)
    conn.ping()
    slow.set()
    for _ in range(4):
        rig.connect(server)
    # Before all are closed: they wait for their doorkeepers.
    rig.on_end(Slow.opened.set)
    for _ in range(2):
        assert Slow.entered.acquire(timeout=PATIENCE)
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
