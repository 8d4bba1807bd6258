"""What programs subclass, override and replace: each of it takes effect, and nothing stays behind."""

from __future__ import annotations

import os
from typing import Any

import pytest
from conftest import Rig
from served_things import Service, Thing, both, serving

import rpyc
from rpyc import _rpyc
from rpyc.core import async_, consts, netref, protocol
from rpyc.core._connection import native
from rpyc.core.protocol import Connection
from rpyc.lib import get_id_pack

PYTHON_PATH = bool(os.environ.get("RPYC_TEST_PYTHON_PATH"))


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
    assert "served_things.Thing" in made
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
    assert "__len__" in names["served_things.Thing"]


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
    assert rig.pair(Service).client.root.make().____id_pack__[0] == "renamed.served_things.Thing"


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


# Registries of values


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


# What the native path depends on


@pytest.mark.skipif(PYTHON_PATH, reason="this run forces the Python path, so the question is never asked")
def test_a_class_that_was_never_used_is_looked_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection takes the native path from the first message on, and nobody asks again."""
    original, asked = native.is_native, []

    def is_native(conn: Connection) -> bool:
        asked.append(type(conn))
        return original(conn)

    monkeypatch.setattr(native, "is_native", is_native)

    class Mine(Connection):
        """Nothing changed."""

    client = rig.pair(Service, client_service=serving(Mine)).client
    assert client._native is True
    assert client.root.make().method(1) == 2
    assert asked.count(Mine) == 1


def test_a_type_has_a_version_from_the_first_look_at_it() -> None:
    """Until then CPython has none for it. None of its code runs."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            raise AssertionError(name)

    class Fresh(metaclass=Meta):
        """Nobody has read an attribute of it."""

    version = _rpyc.type_version(Fresh)
    assert version != 0
    assert _rpyc.type_version(Fresh) == version
    changed: Any = Fresh
    changed.more = 1
    assert _rpyc.type_version(Fresh) not in {0, version}


# Single connections


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
