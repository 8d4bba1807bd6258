"""The connection object: set-up, ping, root, requests, serving loops, closing."""

from __future__ import annotations

import gc
import socket
import threading
import time
import weakref
from typing import Any

import pytest
from conftest import Rig, eventually, in_thread, in_threads

import rpyc
from rpyc.core import consts
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection, PingError
from rpyc.core.stream import PipeStream, SocketStream


class Recorder(rpyc.Service):
    """Notes what happens to its connections."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.conns: list[Any] = []

    def on_connect(self, conn: Any) -> None:
        self.events.append("connect")
        self.conns.append(conn)

    def on_disconnect(self, conn: Any) -> None:
        assert conn is self.conns[-1]
        self.events.append("disconnect")

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def exposed_block(self, gate: threading.Event, seconds: float) -> bool:
        # The gate is passed as a plain attribute of the test, not over the wire.
        return GATES[gate].wait(seconds)


GATES: dict[Any, threading.Event] = {}


@pytest.fixture
def gate() -> Any:
    """A name for an event in this process that a remote `block` waits for."""
    event = threading.Event()
    GATES["gate"] = event
    yield event
    event.set()
    del GATES["gate"]


# A server logs what ends a connection and raises it again, in the thread of that connection.
SERVER_THREADS_MAY_RAISE = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

# Ping and root


def test_ping_accepts_any_data(rig: Rig) -> None:
    """Default data, text, bytes and a large block all come back equal."""
    client = rig.pair(Recorder()).client
    client.ping()
    client.ping("text")
    client.ping(data=b"b" * 100_000, timeout=5)


def test_ping_notices_a_different_answer(rig: Rig) -> None:
    """PingError if the peer does not echo."""
    pair = rig.pair(Recorder())
    pair.server._HANDLERS = {**pair.server._HANDLERS, consts.HANDLE_PING: lambda conn, data: "something else"}
    with pytest.raises(PingError):
        pair.client.ping("data")


def test_ping_has_a_time_limit_of_its_own(rig: Rig, gate: threading.Event) -> None:
    """TimeoutError when the peer is busy, whatever the configured limit for requests is."""
    client = rig.pair(Recorder(), client_config={"sync_request_timeout": None}).client
    busy = rpyc.async_(client.root.block)("gate", 20)
    with pytest.raises(TimeoutError):
        client.ping(timeout=0.1)
    gate.set()
    assert busy.value is True
    client.ping()


def test_root_is_fetched_once(rig: Rig) -> None:
    """The same proxy every time, kept on the connection."""
    client = rig.pair(Recorder()).client
    assert client.root is client.root is client._remote_root
    assert client.root.get_service_name() == "RECORDER"


def test_root_works_inside_on_connect(rig: Rig) -> None:
    """The peer is served while on_connect waits, so both ends may ask for the other's root at once."""
    names: list[str] = []

    class Curious(rpyc.Service):
        def on_connect(self, conn: Any) -> None:
            names.append(conn.root.get_service_name())

    pair = rig.pair(Curious, client_service=Curious)
    assert names == ["CURIOUS", "CURIOUS"]
    pair.client.ping()


# Requests


def test_sync_request_by_number(rig: Rig) -> None:
    """The handlers are reachable by their numbers."""
    client = rig.pair(Recorder()).client
    assert client.sync_request(consts.HANDLE_PING, "x") == "x"
    assert client.sync_request(consts.HANDLE_CALLATTR, client.root, "same", (5,)) == 5
    with pytest.raises(KeyError):
        client.sync_request(99)


def test_async_request_by_number(rig: Rig) -> None:
    """The result object comes at once; only `timeout` is accepted as keyword."""
    client = rig.pair(Recorder()).client
    result = client.async_request(consts.HANDLE_PING, "x", timeout=10)
    assert isinstance(result, rpyc.AsyncResult)
    assert result.value == "x"
    with pytest.raises(TypeError):
        client.async_request(consts.HANDLE_PING, "x", patience=1)


def test_time_limit_of_sync_requests(rig: Rig, gate: threading.Event) -> None:
    """An expired call raises; its late answer is dropped; the connection goes on."""
    client = rig.pair(Recorder(), client_config={"sync_request_timeout": 0.1}).client
    block = client.root.block
    with pytest.raises(rpyc.AsyncResultTimeout, match="result expired"):
        block("gate", 20)
    assert rpyc.AsyncResultTimeout is TimeoutError
    gate.set()
    client._config["sync_request_timeout"] = 10
    assert client.root.same("next") == "next"


@pytest.mark.parametrize("limit", [None, -1])
def test_no_time_limit(rig: Rig, gate: threading.Event, limit: Any) -> None:
    """None and negative numbers mean: wait for ever."""
    client = rig.pair(Recorder(), client_config={"sync_request_timeout": limit}).client
    waiting = in_thread(lambda: client.root.block("gate", 20))
    assert not waiting.done()
    gate.set()
    assert waiting.result(10) is True


def test_zero_time_limit_expires_at_once(rig: Rig) -> None:
    """Nothing is even read, although the answer would be there."""
    client = rig.pair(Recorder()).client
    same = client.root.same
    client._config["sync_request_timeout"] = 0
    with pytest.raises(TimeoutError):
        same(1)
    client._config["sync_request_timeout"] = 10
    assert same(2) == 2


# Configuration and identity


def test_configuration_is_a_copy_with_an_overlay(rig: Rig) -> None:
    """Unknown keys are kept; the defaults are taken at construction."""
    given = {"my_own_key": 5, "allow_pickle": True}
    client = rig.pair(Recorder(), client_config=given).client
    assert client._config["my_own_key"] == 5 and client._config["allow_pickle"] is True
    assert client._config["allow_getattr"] is True
    assert client._config["safe_attrs"] is rpyc.core.DEFAULT_CONFIG["safe_attrs"]
    assert "allow_getattr" not in given and "my_own_key" not in rpyc.core.DEFAULT_CONFIG


def test_defaults_are_read_when_a_connection_is_built(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs assign into DEFAULT_CONFIG."""
    monkeypatch.setitem(rpyc.core.protocol.DEFAULT_CONFIG, "sync_request_timeout", 17)
    assert rig.pair(Recorder()).client._config["sync_request_timeout"] == 17


def test_names_of_connections(rig: Rig) -> None:
    """A given id, or a running number; repr shows it."""
    named: Any = rig.pair(Recorder(), client_config={"connid": "mine"}).client
    assert repr(named).startswith("<rpyc.core.protocol.Connection 'mine' object at 0x")
    first, second = rig.pair(Recorder()).client, rig.pair(Recorder()).client
    assert first._config["connid"] != second._config["connid"]
    assert first._config["connid"].startswith("conn")


def test_connections_are_keys_and_carry_attributes(rig: Rig) -> None:
    """Hashable, weakly referable, open for attributes of the user's."""
    client: Any = rig.pair(Recorder()).client
    client.note = "mine"
    assert {client: client.note}[client] == "mine"
    assert client.fileno() == client._channel.fileno() >= 0
    assert weakref.ref(client)() is client


def test_no_configuration_at_all(rig: Rig) -> None:
    """Intended superset of 6.0.2: `config=None` means none."""
    left, right = socket.socketpair()
    with left, right:
        conn = Connection(rpyc.VoidService(), Channel(SocketStream(left)), None)
        assert conn._config["sync_request_timeout"] == 30
        conn._cleanup()


# Transports


def test_over_unix_socket_and_tcp(rig: Rig) -> None:
    """The same service over both."""
    for unix in (False, True):
        conn = rig.connect(rig.serve(Recorder(), unix=unix))
        assert conn.root.same((1, b"x")) == (1, b"x")


def test_over_pipes(rig: Rig) -> None:
    """Two pairs of pipes carry a connection."""
    left, right = PipeStream.create_pair()
    served = in_thread(lambda: rpyc.connect_stream(right, Recorder).serve_all())
    with rpyc.connect_stream(left) as conn:
        assert conn.root.same("x" * 100_000) == "x" * 100_000
    served.result(10)


def test_connect_thread(rig: Rig) -> None:
    """A connection to a thread of one's own."""
    with rpyc.connect_thread(remote_service=Recorder) as conn:
        assert conn.root.same(1) == 1


def test_accepting_end_knows_the_addresses(rig: Rig) -> None:
    """A server tells its connections both end points."""
    service = Recorder()
    server = rig.serve(service)
    conn = rig.connect(server)
    conn.ping()
    own, peer = service.conns[0]._config["endpoints"]
    assert own[:2] == ("127.0.0.1", server.port)
    assert peer == conn._channel.stream.sock.getsockname()
    assert conn._config["endpoints"] is None


# Serving


def test_serve_handles_one_message(rig: Rig) -> None:
    """True if something was dispatched, False if the time was over first."""
    pair = rig.pair(Recorder())
    client = pair.client
    assert client.serve(0) is False
    assert client.poll() is False
    result = client.async_request(consts.HANDLE_PING, "x")
    assert client.serve(10) is True
    assert result.ready and result.value == "x"


def test_poll_all_serves_what_is_there(rig: Rig) -> None:
    """Everything pending in one call; False when there was nothing."""
    client = rig.pair(Recorder()).client
    assert client.poll_all() is False
    calls: list[int] = []
    results = [rpyc.async_(client.root.call)(calls.append, n) for n in range(3)]
    eventually(lambda: client.poll_all(0.01) or len(calls) == 3)
    eventually(lambda: all(result.ready for result in results))
    assert sorted(calls) == [0, 1, 2]


def test_poll_all_does_not_mind_the_end(rig: Rig) -> None:
    """The end of the stream is no error for poll_all."""
    pair = rig.pair(Recorder())
    closing = in_thread(pair.server.close)
    eventually(lambda: pair.client.poll_all(0.01) or pair.client.closed)
    closing.result(10)


def test_serve_all_ends_with_the_connection(rig: Rig) -> None:
    """Quietly, on both ends, whoever closes."""
    for closing in ("client", "server"):
        pair = rig.pair(Recorder())
        other = in_thread(pair.client.serve_all)
        getattr(pair, closing).close()
        assert other.result(10) is None
        assert pair.ended.result(10) is None
        assert pair.client.closed and pair.server.closed


def test_serve_forever_is_serve_all(rig: Rig) -> None:
    """Intended superset of 6.0.2, which has no such name."""
    pair = rig.pair(Recorder())
    other = in_thread(pair.client.serve_forever)
    in_thread(pair.server.close).result(10)
    assert other.result(10) is None


def test_serve_threaded_runs_requests_at_the_same_time(rig: Rig) -> None:
    """Three calls meet at a barrier, which takes three threads on one connection (6.0.2 fails this now and then)."""
    barrier = threading.Barrier(3)

    class Meeting(rpyc.Service):
        def exposed_meet(self) -> int:
            return barrier.wait(10)

    left, right = socket.socketpair()
    server = rpyc.connect_stream(SocketStream(right), Meeting)
    serving = in_thread(lambda: server.serve_threaded(thread_count=4))
    client = rpyc.connect_stream(SocketStream(left))
    meet = rpyc.async_(client.root.meet)
    results = [meet() for _ in range(3)]
    assert sorted(result.value for result in results) == [0, 1, 2]
    client.close()
    serving.result(10)
    assert server.closed


# Closing


def test_close_is_seen_once_by_each_side(rig: Rig) -> None:
    """on_connect and on_disconnect run once for each end; closing again does nothing."""
    here, there = Recorder(), Recorder()
    pair = rig.pair(there, client_service=here)
    pair.client.ping()
    pair.client.close()
    pair.client.close()
    pair.ended.result(10)
    pair.server.close()
    assert here.events == there.events == ["connect", "disconnect"]
    assert pair.client.closed and pair.server.closed


def test_everything_says_eof_after_close(rig: Rig) -> None:
    """No operation of a closed connection waits."""
    client = rig.pair(Recorder()).client
    root, result = client.root, rpyc.async_(client.root.same)
    client.close()
    for operation in (
        client.ping, lambda: client.root, lambda: root.same(1), lambda: result(1), lambda: client.sync_request(1, 2),
        lambda: client.async_request(1, 2), lambda: client.serve(0.1), lambda: repr(root), client.fileno,
    ):
        with pytest.raises(EOFError):
            operation()


def test_close_tells_a_waiting_thread(rig: Rig, gate: threading.Event) -> None:
    """Another thread's blocked call ends with EOFError when the connection is closed under it."""
    pair = rig.pair(Recorder(), client_config={"sync_request_timeout": 50})
    block = pair.client.root.block
    waiting = in_thread(lambda: block("gate", 20))
    eventually(lambda: pair.client._request_callbacks)
    pair.server._channel.close()
    with pytest.raises(EOFError):
        waiting.result(10)
    gate.set()


def test_both_sides_close_at_once(rig: Rig) -> None:
    """Sane where 6.0.2 has a bug: two closes that cross end both connections without an error, every time."""
    for _ in range(20):
        here, there = Recorder(), Recorder()
        pair = rig.pair(there, client_service=here)
        pair.client.ping()
        in_threads(pair.client.close, pair.server.close)
        eventually(pair.ended.done)
        assert pair.ended.exception() is None
        assert here.events == there.events == ["connect", "disconnect"]


def test_connection_as_context_manager(rig: Rig) -> None:
    """Leaving the block closes, also by an exception."""
    client = rig.pair(Recorder()).client
    with pytest.raises(LookupError), client as entered:
        assert entered is client
        raise LookupError
    assert client.closed


def test_forgotten_connection_is_closed(rig: Rig) -> None:
    """Dropping the last reference closes the connection."""
    service = Recorder()
    server = rig.serve(service)
    conn = rpyc.connect("127.0.0.1", server.port)
    conn.ping()
    del conn
    gc.collect()
    eventually(lambda: service.events == ["connect", "disconnect"])


def test_before_closed_runs_with_a_working_root(rig: Rig) -> None:
    """It gets the root, may call it, and sees the connection as closed."""
    seen: list[Any] = []

    def before_closed(root: Any) -> None:
        seen.append((root.same(5), client.closed))

    client = rig.pair(Recorder(), client_config={"before_closed": before_closed}).client
    client.close()
    assert seen == [(5, True)]


def test_errors_of_before_closed(rig: Rig) -> None:
    """They reach the caller of close, unless the configuration says otherwise; the connection is gone in any case."""

    def before_closed(root: Any) -> None:
        raise LookupError("not ready")

    for catch in (False, True):
        pair = rig.pair(Recorder(), client_config={"before_closed": before_closed, "close_catchall": catch})
        if catch:
            pair.client.close()
        else:
            with pytest.raises(LookupError, match="not ready"):
                pair.client.close()
        assert pair.client.closed
        pair.ended.result(10)


def test_mute_peer_delays_close_by_the_time_limit_only(rig: Rig, gate: threading.Event) -> None:
    """A peer that does not answer the close request cannot keep us."""
    client = rig.pair(Recorder(), client_config={"sync_request_timeout": 0.2}).client
    rpyc.async_(client.root.block)("gate", 20)
    started = time.monotonic()
    client.close()
    assert client.closed
    # The limit of the peer's own block is 20 s: close did not wait for that.
    assert time.monotonic() - started < 15
    gate.set()


@SERVER_THREADS_MAY_RAISE
def test_failing_on_connect_ends_the_connection(rig: Rig) -> None:
    """The client sees the end of the stream; the server goes on.

    Intended difference: the descriptor is closed at once. 6.0.2 leaves it to the garbage collector, and so to whoever
    keeps the traceback.
    """
    fail = [True]

    class Picky(rpyc.Service):
        def on_connect(self, conn: Any) -> None:
            if fail[0]:
                raise RuntimeError("not you")

        def exposed_same(self, value: Any) -> Any:
            return value

    server = rig.serve(Picky)
    with pytest.raises(EOFError):
        rig.connect(server).root.same(1)
    fail[0] = False
    assert rig.connect(server).root.same(1) == 1


def test_service_instance_is_shared(rig: Rig) -> None:
    """A class gives an instance per connection, an instance serves them all."""

    class Counter(rpyc.Service):
        def __init__(self) -> None:
            self.count = 0

        def exposed_next(self) -> int:
            self.count += 1
            return self.count

    shared, separate = rig.serve(Counter()), rig.serve(Counter)
    assert [rig.connect(shared).root.next() for _ in range(3)] == [1, 2, 3]
    assert [rig.connect(separate).root.next() for _ in range(3)] == [1, 1, 1]
