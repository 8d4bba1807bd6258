"""What waits on a connection that ends: it learns that, and why; and how long waits and closing may take."""

from __future__ import annotations

import gc
import pickle
import socket
import threading
import time
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread

import rpyc
from rpyc.core.stream import SocketStream


class Service(rpyc.Service):
    """Waits until it is told to go on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ended = 0
        self.waiting = False

    def on_disconnect(self, conn: Any) -> None:
        self.ended += 1

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_wait(self) -> str:
        self.waiting = True
        assert self.gate.wait(20)
        return "done"

    def exposed_call(self, function: Any) -> Any:
        return function()


def mute(rig: Rig, **config: Any) -> tuple[Any, socket.socket]:
    """A connection whose peer neither reads nor writes."""
    mine, theirs = socket.socketpair()
    conn = rpyc.connect_stream(SocketStream(mine), config={"close_timeout": 0, **config})
    rig.on_end(conn.close)
    rig.on_end(theirs.close)
    return conn, theirs


# ConnectionLost


def test_the_error_names_operation_peer_and_cause(rig: Rig) -> None:
    """In its text, and as attributes for programs. It is the EOFError that programs for RPyC expect."""
    service = Service()
    server = rig.serve(service)
    rig.on_end(service.gate.set)
    conn = rig.connect(server)
    waiting = in_thread(lambda: conn.root.wait())
    eventually(lambda: service.waiting)
    server.close()
    with pytest.raises(rpyc.ConnectionLost) as caught:
        waiting.result(PATIENCE)
    service.gate.set()
    error = caught.value
    assert isinstance(error, EOFError)
    assert (error.cause, error.peer) == ("peer closed", f"127.0.0.1:{server.port}")
    assert error.operation is not None and "CALL" in error.operation
    for part in ("connection closed by peer", error.operation, error.peer):
        assert part in str(error)
    for later in (conn.ping, lambda: conn.root.same):
        with pytest.raises(rpyc.ConnectionLost):
            later()


def test_the_error_can_be_pickled() -> None:
    """With all it says: process pools hand errors on that way."""
    error = pickle.loads(pickle.dumps(rpyc.ConnectionLost("text", "reset", "host:1", "CALL")))
    assert (type(error), str(error), vars(error)) == (
        rpyc.ConnectionLost, "text", {"cause": "reset", "peer": "host:1", "operation": "CALL"},
    )


def test_peers_see_an_eof_error(rig: Rig) -> None:
    """A handler that loses a connection of its own: its caller gets EOFError, as with RPyC, and no more of us."""
    third = rig.pair(Service()).client
    third.close()
    conn = rig.pair(Service()).client

    def use() -> None:
        third.ping()

    with pytest.raises(EOFError) as caught:
        conn.root.call(use)
    assert not isinstance(caught.value, rpyc.ConnectionLost)
    assert not hasattr(caught.value, "peer")
    conn.ping()


def test_asynchronous_results_end_with_it(rig: Rig) -> None:
    """Whether somebody waits for them or not: they are ready, with the error, and their callbacks are called."""
    conn, peer = mute(rig)
    result = conn.async_request(1, "never answered")
    expired = conn.async_request(1, "never answered", timeout=0)
    told: list[Any] = []
    result.add_callback(told.append)
    expired.add_callback(told.append)
    peer.close()
    with pytest.raises(rpyc.ConnectionLost):
        conn.ping()
    assert told == [result]
    assert result.ready and result.error and not result.expired
    for read in (result.wait, lambda: result.value):
        with pytest.raises(rpyc.ConnectionLost, match="PING"):
            read()
    assert expired.expired and not expired.ready


def test_own_close_ends_results_too(rig: Rig) -> None:
    """The cause says who closed it."""
    pair = rig.pair(Service())
    rig.on_end(pair.server._local_root.gate.set)
    result = rpyc.async_(pair.client.root.wait)()
    pair.server._local_root.gate.set()
    pair.client.close()
    if result.error:
        with pytest.raises(rpyc.ConnectionLost):
            result.wait()
    with pytest.raises(rpyc.ConnectionLost):
        pair.client.ping()


# Time limits


def test_a_timeout_names_operation_peer_time_and_option(rig: Rig) -> None:
    """Of synchronous requests, of asynchronous results, and of blocks with a limit."""
    conn, _ = mute(rig, sync_request_timeout=0.02)
    peer = "from the peer on a Unix socket"
    with pytest.raises(TimeoutError, match=rf"no answer to GETROOT {peer} within 0\.0.* seconds \("):
        conn.root  # noqa: B018
    result = conn.async_request(1, "ping")
    result.set_expiry(0.01)
    with pytest.raises(TimeoutError, match=rf"no answer to PING {peer} within 0\.0.*set_expiry"):
        result.wait()
    with conn.timeout(0.01), pytest.raises(TimeoutError, match="limit is .*timeout"):
        conn.async_request(1, "ping").wait()
    with conn.timeout(0.01), pytest.raises(TimeoutError, match=r"within 0\.0.* seconds \("):
        conn.root  # noqa: B018


def test_a_block_with_a_limit(rig: Rig) -> None:
    """It counts from the start of the block, for this thread, and the earlier of two limits counts."""
    service = Service()
    conn = rig.pair(service).client
    rig.on_end(service.gate.set)
    wait = conn.root.wait
    started = time.monotonic()
    with conn.timeout(0.2):
        assert conn.root.same(1) == 1
        with conn.timeout(60), pytest.raises(TimeoutError):
            wait()
        # The time is over: nothing more is asked.
        before = conn._get_seq_id()
        with pytest.raises(TimeoutError):
            conn.sync_request(1, "late")
        assert conn._get_seq_id() - before <= 2
    assert time.monotonic() - started < PATIENCE
    with conn.timeout(0):
        other = in_thread(lambda: wait())
        eventually(lambda: len(conn._request_callbacks) >= 1)
    service.gate.set()
    assert other.result(PATIENCE) == "done"
    assert conn.root.same(2) == 2


def test_a_limit_must_be_a_time(rig: Rig) -> None:
    """Negative numbers and their like are refused, not taken for no limit."""
    conn, _ = mute(rig)
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="number of seconds"), conn.timeout(wrong):
            raise AssertionError("must not be reached")


# Peers that are there and do nothing


def test_close_is_bounded(rig: Rig) -> None:
    """Also without a limit for requests, and with more to send than the peer takes."""
    for backlog in (b"", bytes(8 << 20)):
        conn, _ = mute(rig, sync_request_timeout=None, close_timeout=0.05)
        if backlog:
            with conn.timeout(0.05):
                conn.async_request(1, backlog)
        closing = in_thread(conn.close)
        closing.result(PATIENCE)
        assert conn.closed


@pytest.mark.parametrize("waits", ["one", "many"])
def test_a_peer_that_takes_nothing(rig: Rig, waits: str) -> None:
    """A write that makes no progress ends the connection after send_timeout, for all who wait."""
    conn, _ = mute(rig, sync_request_timeout=None, send_timeout=0.3)
    futures = [in_thread(lambda: conn.sync_request(1, bytes(4 << 20))) for _ in range(1 if waits == "one" else 4)]
    for future in futures:
        with pytest.raises(rpyc.ConnectionLost, match="took no byte") as caught:
            future.result(PATIENCE)
        assert caught.value.cause == "stuck"
    eventually(lambda: conn.closed)


def test_slow_is_not_stuck(rig: Rig) -> None:
    """As long as bytes leave, however slowly, the connection lives."""
    conn, peer = mute(rig, sync_request_timeout=None, send_timeout=0.4)
    sending = in_thread(lambda: conn.async_request(1, bytes(3 << 20)))
    started = time.monotonic()
    taken = 0
    while not sending.done():
        taken += len(peer.recv(1 << 18))
        time.sleep(0.1)
    assert time.monotonic() - started > 0.4
    assert taken > 1 << 20 and not conn.closed
    sending.result(PATIENCE)


def test_the_system_watches_tcp_peers(rig: Rig) -> None:
    """Keepalive and the limit for unacknowledged bytes are set as configured, on both sides; own settings stay."""
    server = rig.serve(Service(), {"tcp_keepalive": 30, "send_timeout": 20})
    conn = rig.connect(server, tcp_keepalive=90, send_timeout=None)
    own = rpyc.connect("127.0.0.1", server.port, keepalive=5)
    rig.on_end(own.close)
    off = rig.connect(server, tcp_keepalive=None)
    for each in (conn, own, off):
        each.ping()
    assert watch(conn._channel.stream.sock) == (1, 90, 0)
    assert watch(own._channel.stream.sock) == (1, 5, 0)
    assert watch(off._channel.stream.sock)[0] == 0
    assert {watch(sock) for sock in server.clients} == {(1, 30, 20000)}


def watch(sock: socket.socket) -> tuple[int, int, int]:
    """Keepalive, its idle seconds, and the limit of unacknowledged bytes in milliseconds."""
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )


def test_closing_in_two_threads_tells_once(rig: Rig) -> None:
    """`before_closed` and `on_disconnect` run once, whoever closes."""
    for _ in range(20):
        told: list[str] = []
        service = Service()
        pair = rig.pair(Service(), None, service, {"before_closed": lambda root: told.append("before")})
        for future in [in_thread(pair.client.close) for _ in range(3)]:
            future.result(PATIENCE)
        eventually(lambda service=service: service.ended == 1)
        assert told == ["before"]
    gc.collect()
