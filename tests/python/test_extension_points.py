"""What programs subclass, override and replace: each of it takes effect, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Rig, eventually, in_thread

import rpyc
from rpyc.core import async_, brine, consts, netref, protocol
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection
from rpyc.core.stream import SocketStream
from rpyc.lib import Timeout, get_id_pack

PYTHON_PATH = bool(os.environ.get("RPYC_TEST_PYTHON_PATH"))


class Thing:
    """Something that goes by reference."""

    exposed_value = 5

    def exposed_method(self, number: int) -> int:
        return number + 1

    def __len__(self) -> int:
        return 3


class Service(rpyc.Service):
    """What the connections under test serve."""

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_make(self) -> Thing:
        return Thing()

    def exposed_fail(self) -> None:
        raise ValueError("on purpose")

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)


def serving(connection: type[Connection]) -> type[Service]:
    """The service with a connection class of one's own."""
    return type("Service", (Service,), {"_protocol": connection})


def both(rig: Rig, connection: type[Connection]) -> Any:
    """A pair whose ends are both of the given class."""
    return rig.pair(serving(connection), client_service=serving(connection))


# Subclasses of Connection


def test_protocol_of_a_service(rig: Rig) -> None:
    """`Service._protocol` says which class its connections are."""

    class Mine(Connection):
        """Nothing changed."""

    pair = both(rig, Mine)
    assert type(pair.client) is type(pair.server) is Mine
    assert pair.client.root.same(1) == 1
    assert "Mine 'conn" in repr(pair.client)


def test_dispatch_request(rig: Rig) -> None:
    """Sees every request with its number and its boxed arguments, and may refuse to go on."""
    seen: list[tuple[Any, Any]] = []

    class Mine(Connection):
        def _dispatch_request(self, seq: Any, raw_args: Any) -> None:
            seen.append((seq, raw_args[0]))
            super()._dispatch_request(seq, raw_args)

    client = rig.pair(serving(Mine)).client
    client.ping("data")
    assert client.root.same(4) == 4
    assert [seq for seq, _ in seen] == sorted(seq for seq, _ in seen)
    handlers = [handler for _, handler in seen]
    assert handlers[:2] == [consts.HANDLE_PING, consts.HANDLE_GETROOT]
    assert set(handlers) & {consts.HANDLE_CALL, consts.HANDLE_CALLATTR}


def test_dispatch_of_a_subclass(rig: Rig) -> None:
    """Gets the payload of every message, answers included."""
    seen: list[int] = []

    class Mine(Connection):
        def _dispatch(self, data: bytes) -> None:
            seen.append(data[0])
            super()._dispatch(data)

    pair = both(rig, Mine)
    pair.client.ping("data")
    assert sorted(seen) == [consts.MSG_REQUEST, consts.MSG_REPLY]


def test_dispatch_replaced_on_the_class(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """For connections that exist and for new ones."""
    pair = rig.pair(Service)
    assert pair.client.root.same(1) == 1
    original, seen = Connection._dispatch, []

    def patched(self: Any, data: bytes) -> Any:
        seen.append(self)
        return original(self, data)

    monkeypatch.setattr(Connection, "_dispatch", patched)
    pair.client.ping("existing")
    assert pair.client in seen
    rig.pair(Service).client.ping("new")
    assert len(set(seen)) >= 3


def test_box_and_unbox(rig: Rig) -> None:
    """A type of one's own travels by value through an extra label."""

    class Money:
        def __init__(self, amount: int) -> None:
            self.amount = amount

    class Mine(Connection):
        def _box(self, obj: Any) -> Any:
            if isinstance(obj, Money):
                return consts.LABEL_VALUE, ("money", obj.amount)
            return super()._box(obj)

        def _unbox(self, package: Any) -> Any:
            value = super()._unbox(package)
            if type(value) is tuple and value[:1] == ("money",):
                return Money(value[1])
            return value

    client = both(rig, Mine).client
    got = client.root.same(Money(17))
    assert type(got) is Money and got.amount == 17
    assert client.root.same((1, "two")) == (1, "two")


def test_netref_factory(rig: Rig) -> None:
    """Makes the proxies of a connection."""
    made: list[str] = []

    class Mine(Connection):
        def _netref_factory(self, id_pack: Any) -> Any:
            made.append(id_pack[0])
            return super()._netref_factory(id_pack)

    client = both(rig, Mine).client
    made.clear()
    assert client.root.make().value == 5
    assert f"{__name__}.Thing" in made
    name = "builtins.dict"
    assert name not in made
    client.root.call(dict.fromkeys, "ab")
    assert name in made


def test_single_handlers(rig: Rig) -> None:
    """`_handle_getattr` and its kin may be overridden one by one."""

    class Mine(Connection):
        def _handle_getattr(self, obj: Any, name: Any) -> Any:
            if name == "magic":
                return "from the handler"
            return super()._handle_getattr(obj, name)

        def _handle_repr(self, obj: Any) -> str:
            return f"mine: {super()._handle_repr(obj)}"

        def _handle_call(self, obj: Any, args: Any, kwargs: Any = ()) -> Any:
            return super()._handle_call(obj, args, kwargs)

    root = rig.pair(serving(Mine)).client.root
    thing = root.make()
    assert thing.magic == "from the handler"
    assert thing.value == 5 and thing.method(1) == 2
    assert repr(thing).startswith("mine: <")


def test_request_handlers(rig: Rig) -> None:
    """Requests of one's own are added to the table, on the class or on a connection."""

    class Mine(Connection):
        @classmethod
        def _request_handlers(cls) -> Any:
            return {**super()._request_handlers(), 77: cls._handle_mine}

        def _handle_mine(self, first: Any, second: Any) -> Any:
            return self is pair.server, first, second

    pair = rig.pair(serving(Mine))
    assert pair.client.sync_request(77, "a", 2) == (True, "a", 2)
    pair.server._HANDLERS[78] = lambda conn, value: (conn is pair.server, value)
    assert pair.client.sync_request(78, 5) == (True, 5)
    assert pair.client.root.same(1) == 1


def test_send(rig: Rig) -> None:
    """Every message goes out through `_send(kind, sequence number, body)`."""
    sent: list[Any] = []

    class Mine(Connection):
        def _send(self, msg: int, seq: Any, args: Any) -> None:
            sent.append((msg, seq))
            super()._send(msg, seq, args)

    pair = rig.pair(serving(Mine), client_service=serving(Mine))
    pair.client.ping("data")
    assert sorted(sent) == [(consts.MSG_REQUEST, 0), (consts.MSG_REPLY, 0)]


def test_cleanup(rig: Rig) -> None:
    """Runs once when the connection ends, on either side."""
    cleaned: list[Any] = []

    class Mine(Connection):
        def _cleanup(self, _anyway: bool = True) -> None:
            cleaned.append(self)
            super()._cleanup(_anyway)

    pair = both(rig, Mine)
    pair.client.ping()
    pair.client.close()
    pair.ended.result(10)
    assert {id(conn) for conn in cleaned} == {id(pair.client), id(pair.server)}


def test_connect_of_a_service(rig: Rig) -> None:
    """`_connect` may talk on the stream before the protocol starts."""
    greeting = b"hello\n"

    class Greeting(Service):
        def _connect(self, channel: Any, config: Any = {}) -> Any:  # noqa: B006
            channel.stream.write(greeting)
            return super()._connect(channel, config)

    class Greeted(rpyc.Service):
        def _connect(self, channel: Any, config: Any = {}) -> Any:  # noqa: B006
            assert channel.stream.read(len(greeting)) == greeting
            return super()._connect(channel, config)

    pair = rig.pair(Greeting(), client_service=Greeted())
    assert pair.client.root.same("after") == "after"


# Replaced module globals


def test_syncreq(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attribute access, calls and special methods of proxies go through `netref.syncreq`."""
    root = rig.pair(Service).client.root
    thing = root.make()
    original, handlers = netref.syncreq, []

    def patched(proxy: Any, handler: int, *args: Any) -> Any:
        handlers.append(handler)
        return original(proxy, handler, *args)

    monkeypatch.setattr(netref, "syncreq", patched)
    assert thing.value == 5
    assert consts.HANDLE_GETATTR in handlers
    assert (str(thing)[:1], len(thing), thing == 5) == ("<", 3, False)
    assert set(handlers) >= {consts.HANDLE_STR, consts.HANDLE_CALLATTR, consts.HANDLE_CMP}
    handlers.clear()
    assert root.same(1) == 1
    assert set(handlers) & {consts.HANDLE_CALL, consts.HANDLE_CALLATTR}


def test_class_factory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the classes of proxies."""
    original, made = netref.class_factory, []

    def patched(id_pack: Any, methods: Any) -> Any:
        made.append((id_pack[0], {name for name, _ in methods}))
        return original(id_pack, methods)

    monkeypatch.setattr(netref, "class_factory", patched)
    rig.pair(Service).client.root.make()
    names = dict(made)
    assert "__len__" in names[f"{__name__}.Thing"]


def test_make_method(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the methods of those classes."""
    original = netref._make_method

    def patched(name: str, doc: Any) -> Any:
        if name == "__len__":
            return lambda self: 1234
        return original(name, doc)

    monkeypatch.setattr(netref, "_make_method", patched)
    assert len(rig.pair(Service).client.root.make()) == 1234


def test_id_packs_of_one_s_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`protocol.get_id_pack` names the objects that are handed out."""

    def patched(obj: Any) -> Any:
        name, class_id, instance_id = get_id_pack(obj)
        return ("renamed." + name if isinstance(obj, Thing) else name), class_id, instance_id

    monkeypatch.setattr(protocol, "get_id_pack", patched)
    assert rig.pair(Service).client.root.make().____id_pack__[0] == f"renamed.{__name__}.Thing"


def test_wait_of_results(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AsyncResult.wait` is replaced by programs that serve in small steps."""
    waited: list[Any] = []

    def patient(self: Any) -> None:
        waited.append(self)
        while not self._is_ready and not self._ttl.expired():
            self._conn.serve(0.01)
        if not self._is_ready:
            raise rpyc.AsyncResultTimeout("result expired")

    client = rig.pair(Service).client
    monkeypatch.setattr(async_.AsyncResult, "wait", patient)
    assert client.root.same(3) == 3
    result = rpyc.async_(client.root.same)(4)
    assert result.value == 4
    assert result in waited and len(waited) > 2


def test_a_class_of_results(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AsyncResult` is replaced in both modules by a subclass that watches the answers."""
    answers: list[Any] = []

    class Watched(async_.AsyncResult):
        def __call__(self, is_exc: bool, obj: Any) -> None:
            answers.append((is_exc, obj))
            super().__call__(is_exc, obj)

    client = rig.pair(Service).client
    same = client.root.same
    monkeypatch.setattr(async_, "AsyncResult", Watched)
    monkeypatch.setattr(protocol, "AsyncResult", Watched)
    result = rpyc.async_(same)(5)
    assert type(result) is Watched and result.value == 5
    assert same(6) == 6
    assert [obj for failed, obj in answers if not failed][-2:] == [5, 6]


def test_exception_handlers(rig: Rig) -> None:
    """`_box_exc` and `_unbox_exc` see the exceptions that go and come."""
    boxed: list[type] = []

    class Mine(Connection):
        def _box_exc(self, typ: Any, val: Any, tb: Any) -> Any:
            boxed.append(typ)
            return super()._box_exc(typ, val, tb)

        def _unbox_exc(self, raw: Any) -> Any:
            error = super()._unbox_exc(raw)
            error.seen = True
            return error

    client = both(rig, Mine).client
    with pytest.raises(ValueError, match="on purpose") as caught:
        client.root.fail()
    assert boxed == [ValueError] and caught.value.seen  # type: ignore[attr-defined]


# Duck-typed transports


class Tunnel:
    """A stream that is no subclass of anything: a socket whose bytes are all turned around."""

    MAX_IO_CHUNK = 8000

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.closed = False
        self.polled: list[Any] = []

    def fileno(self) -> int:
        """There is no descriptor to wait for."""
        raise EOFError("no descriptor")

    def poll(self, timeout: Any) -> bool:
        """True if there is something to read, or nothing ever again; the timeout is a `rpyc.lib.Timeout`."""
        import select

        self.polled.append(timeout)
        left = timeout.timeleft() if isinstance(timeout, Timeout) else timeout
        return bool(self.closed or select.select([self._sock], [], [], left)[0])

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        while len(data) < count:
            piece = b"" if self.closed else self._sock.recv(count - len(data))
            if not piece:
                self.close()
                raise EOFError("the tunnel has ended")
            data += piece
        return bytes(255 - byte for byte in data)

    def write(self, data: bytes) -> None:
        """All of it."""
        if self.closed:
            raise EOFError("the tunnel has ended")
        try:
            self._sock.sendall(bytes(255 - byte for byte in bytes(data)))
        except OSError as error:
            self.close()
            raise EOFError(str(error)) from error

    def close(self) -> None:
        """Both directions."""
        if not self.closed:
            self.closed = True
            self._sock.close()


@pytest.fixture
def tunnels() -> Iterator[tuple[Tunnel, Tunnel]]:
    """The two ends of a tunnel."""
    left, right = map(Tunnel, socket.socketpair())
    yield left, right
    left.close()
    right.close()


def test_duck_typed_stream(rig: Rig, tunnels: tuple[Tunnel, Tunnel]) -> None:
    """A connection over it does everything: calls, callbacks, large data, failures, a clean end."""
    near: Any
    far: Any
    near, far = tunnels
    served = in_thread(lambda: rpyc.connect_stream(far, Service).serve_all())
    client = rpyc.connect_stream(near)
    rig.on_end(client.close)
    assert client.root.same((1, "two")) == (1, "two")
    assert client.root.call(lambda v: v * 2, 21) == 42
    assert client.root.same(b"x" * 300_000) == b"x" * 300_000
    with pytest.raises(ValueError, match="on purpose"):
        client.root.fail()
    assert client.root.make().method(1) == 2
    result = rpyc.async_(client.root.same)(5)
    assert result.value == 5
    assert near.polled and all(isinstance(timeout, Timeout) for timeout in near.polled)
    client.close()
    served.result(10)
    assert near.closed and far.closed


def test_channel_subclass(rig: Rig) -> None:
    """A channel that counts and changes what passes."""
    class Counting(Channel):
        def __init__(self, stream: Any) -> None:
            super().__init__(stream)
            self.sent = self.received = 0

        def send(self, data: bytes) -> None:
            self.sent += 1
            super().send(bytes(data)[::-1])

        def recv(self) -> bytes:
            data = super().recv()
            self.received += 1
            return bytes(data)[::-1]

    left, right = socket.socketpair()
    served = in_thread(lambda: rpyc.utils.factory.connect_channel(Counting(SocketStream(right)), Service).serve_all())
    channel = Counting(SocketStream(left))
    client = rpyc.utils.factory.connect_channel(channel)
    client.ping("data")
    assert (channel.sent, channel.received) == (1, 1)
    assert client.root.same(b"q" * 100_000) == b"q" * 100_000
    assert client.root.call(lambda: "called back") == "called back"
    client.close()
    served.result(10)


def test_stream_subclass(rig: Rig) -> None:
    """A socket stream that records its bytes."""
    class Recording(SocketStream):
        __slots__ = ("read_bytes", "written")

        def __init__(self, sock: socket.socket) -> None:
            super().__init__(sock)
            self.written = self.read_bytes = b""

        def write(self, data: bytes) -> None:
            self.written += bytes(data)
            super().write(data)

        def read(self, count: int) -> bytes:
            data = bytes(super().read(count))
            self.read_bytes += data
            return data

    left, right = socket.socketpair()
    served = in_thread(lambda: rpyc.connect_stream(SocketStream(right), Service).serve_all())
    stream = Recording(left)
    client = rpyc.connect_stream(stream)
    client.ping("data")
    request = brine.dump((0, (consts.HANDLE_PING, (consts.LABEL_VALUE, ("data",)))))
    assert stream.written == (len(request) + 1).to_bytes(4, "big") + b"\0\x01" + request + b"\n"
    assert stream.read_bytes.endswith(brine.dump((0, (consts.LABEL_VALUE, "data"))) + b"\n")
    client.close()
    served.result(10)


def test_a_value_type_of_one_s_own(rig: Rig) -> None:
    """A tag is added to the two registries; the type then travels by value. In processes, because it is for good."""
    common = """
import sys, threading, rpyc
from rpyc.core import brine
class Money:
    def __init__(self, amount): self.amount = amount
TAG = b"\\x1c"
@brine.register(brine._dump_registry, Money)
def dump_money(obj, stream):
    stream.append(TAG)
    brine._dump(obj.amount, stream)
@brine.register(brine._load_registry, TAG)
def load_money(stream):
    return Money(brine._load(stream))
brine.simple_types = brine.simple_types | {Money}
"""
    server = rig.program(
        common
        + """
from rpyc.utils.server import ThreadedServer
class Service(rpyc.Service):
    def exposed_double(self, money): return Money(money.amount * 2), type(money).__name__, 7
server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
server._start_in_thread()
print(server.port)
sys.stdin.read()
"""
    )
    client = rig.program(
        common
        + """
assert brine.dumpable(Money(1)) and brine.load(brine.dump((1, Money(5))))[1].amount == 5
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
money, name, plain = conn.root.double(Money(21))
print(type(money).__name__, money.amount, name, plain)
conn.close()
""",
        server.line(),
    )
    assert client.line() == "Money 42 Money 7"
    assert client.wait() == 0


# Live objects


def test_configuration_is_live(rig: Rig) -> None:
    """`conn._config` is a dict that is read at each use."""
    pair = rig.pair(Service)
    thing = pair.client.root.make()
    for prefix in ("exposed_", "other_", "exposed_"):
        pair.server._config["exposed_prefix"] = prefix
        assert hasattr(thing, "value") is (prefix == "exposed_")
    for allowed in (False, True, False):
        pair.server._config["allow_all_attrs"] = allowed
        assert hasattr(thing, "__dict__") is allowed
    pair.server._config = {**pair.server._config, "allow_pickle": True}
    assert rpyc.classic.obtain(pair.client.root.call(dict)) == {}


def test_what_one_connection_overrides_stays_when_others_come(rig: Rig) -> None:
    plain, pair = rig.pair(Service).client, rig.pair(Service)
    assert plain.root.same(1) == 1 and pair.client.root.same(1) == 1
    boxed: list[Any] = []

    def box(obj: Any) -> Any:
        boxed.append(obj)
        return Connection._box(pair.client, obj)

    pair.client._box = box
    for _ in range(2):
        # A new connection of the class, for which nothing is overridden.
        assert rig.pair(Service).client.root.same(2) == 2
        boxed.clear()
        assert pair.client.root.same(3) == 3
        assert boxed
        assert plain.root.same(4) == 4
        assert pair.client._native is False and plain._native is not PYTHON_PATH


def test_sync_request_of_one_connection(rig: Rig) -> None:
    """Assigned on an instance, it is what proxies of that connection use; other connections are left alone."""
    first, second = rig.pair(Service).client, rig.pair(Service).client
    thing, other = first.root.make(), second.root.make()
    original, handlers = first.sync_request, []

    def patched(handler: int, *args: Any) -> Any:
        handlers.append(handler)
        return original(handler, *args)

    first.sync_request = patched
    assert (thing.value, len(thing)) == (5, 3)
    assert handlers == [consts.HANDLE_GETATTR, consts.HANDLE_CALLATTR]
    assert other.value == 5 and len(handlers) == 2


def test_tables_of_a_connection(rig: Rig) -> None:
    """The tables that programs look into hold what their names say."""
    pair = rig.pair(Service)
    client, server = pair.client, pair.server
    thing = client.root.make()
    identity = thing.____id_pack__
    assert type(server._local_objects[identity]) is Thing
    assert identity in server._local_objects._dict
    assert client._proxy_cache[identity] is thing
    assert client._local_root is not None and client._remote_root is client.root
    assert type(server._local_root) is Service
    del thing
    client.ping()
    eventually(lambda: client.poll_all() or identity not in server._local_objects._dict)
    assert not client._request_callbacks
    assert "count=0" in repr(client._recvlock)
    first, second = client._get_seq_id(), client._get_seq_id()
    assert second == first + 1
    assert next(client._seqcounter) > second
    client.ping("numbers may be left out")
    assert client._channel.stream.sock.fileno() == client.fileno()
    assert client._closed is False


def test_pending_requests_are_in_their_table(rig: Rig) -> None:
    """A request is registered under its number until its answer has come."""
    client = rig.pair(Service).client
    result = client.async_request(consts.HANDLE_PING, "x")
    assert len(client._request_callbacks) == 1
    assert result.value == "x"
    assert len(client._request_callbacks) == 0
    seen: list[Any] = []
    client._async_request(consts.HANDLE_PING, ("y",), lambda failed, value: seen.append((failed, value)))
    eventually(lambda: client.poll_all() or seen == [(False, "y")])


def test_remote_root_may_be_assigned(rig: Rig) -> None:
    """Programs put an object of their own in place of the root."""
    client = rig.pair(Service).client
    client._remote_root = thing = client.root.make()
    assert client.root is thing


def test_locals_of_the_call_handler(rig: Rig) -> None:
    """The remote builtin `locals`, called through a proxy, shows the serving connection as `self`."""
    pair = rig.pair(rpyc.ClassicService, client_service=rpyc.ClassicService)
    shown = pair.client.builtins.locals()
    # Before anything that fails over there, the end of an iteration included.
    assert shown["self"]._last_traceback is None
    assert repr(shown["self"]) == repr(pair.server)
    assert "self" in list(shown)


def test_last_traceback(rig: Rig) -> None:
    """None before the first failure, then the failing handler's."""
    pair = rig.pair(Service)
    assert pair.server._last_traceback is None
    with pytest.raises(ValueError, match="on purpose"):
        pair.client.root.fail()
    trace: Any = pair.server._last_traceback
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_name == "exposed_fail"


def test_descriptor_may_be_wrapped(rig: Rig) -> None:
    """`socket.fromfd(conn.fileno(), ...)` is the common way to ask for the peer's name."""
    server = rig.serve(Service)
    client = rig.connect(server)
    client.ping()
    with socket.fromfd(client.fileno(), socket.AF_INET, socket.SOCK_STREAM) as wrapped:
        assert wrapped.getpeername() == ("127.0.0.1", server.port)
    assert client._channel.stream.sock.getpeername() == ("127.0.0.1", server.port)
    assert client.root.same(1) == 1


def test_nothing_is_left_behind(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a patch is undone the connection goes on without it."""
    client = rig.pair(Service).client
    same = client.root.same
    calls: list[int] = []
    original = netref.syncreq

    def counted(*args: Any) -> Any:
        calls.append(1)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(netref, "syncreq", counted)
        assert same(1) == 1
    assert calls
    before = len(calls)
    assert same(2) == 2 and client.root.make().method(1) == 2
    assert len(calls) == before


def test_a_patched_constant_of_the_channel_takes_effect(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The native driver knows no other level, so the channel's own methods send."""
    sent: list[int] = []

    class Zlib:
        def __getattr__(self, name: str) -> Any:
            return getattr(zlib, name)

        def compress(self, data: bytes, level: int) -> bytes:
            sent.append(level)
            return zlib.compress(data, level)

    monkeypatch.setattr("rpyc.core.channel.zlib", Zlib())
    monkeypatch.setattr(Channel, "COMPRESSION_LEVEL", 9)
    conn = rig.pair(Service()).client
    assert conn.ping(b"x" * 5000) == b"x" * 5000
    assert sent and set(sent) == {9}
