"""Methods of remote objects are called without being fetched, and nobody can tell but by counting requests."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from conftest import Rig, eventually

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.netref import BaseNetref
from rpyc.core.stream import SocketStream


class Thing:
    """Has methods, and changes."""

    def __init__(self) -> None:
        self.calls = 0

    def exposed_add(self, a: Any, b: Any = 0) -> Any:
        self.calls += 1
        return a + b

    def exposed_change(self, how: str) -> None:
        if how == "value":
            self.exposed_add = 5  # type: ignore[method-assign, assignment]
        elif how == "other":
            self.exposed_add = self.exposed_other  # type: ignore[method-assign]
        else:
            del type(self).exposed_add

    def exposed_other(self, a: Any, b: Any = 0) -> Any:
        return "other"


class Service(rpyc.Service):
    """Gives out things."""

    def exposed_make(self) -> Any:
        # A class of its own each, so that a test may take it apart.
        namespace = {key: value for key, value in vars(Thing).items() if key not in ("__dict__", "__weakref__")}
        return type("Thing", (), namespace)()

    def exposed_call(self, func: Any, *args: Any) -> Any:
        return func(*args)

    def exposed_same(self, obj: Any) -> Any:
        return obj

    def exposed_name(self, method: Any) -> str:
        return str(method.__name__)


class Counting(Channel):
    """Notes the handlers of the requests that are sent."""

    __slots__ = ("handlers",)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.handlers: list[int] = []

    def send(self, data: bytes) -> None:
        if data[0] == consts.MSG_REQUEST:
            self.handlers.append(brine.load(data[1:])[1][0])
        super().send(data)


@pytest.fixture
def conn(rig: Rig) -> Any:
    server = rig.serve(Service())
    channel = Counting(SocketStream.connect("127.0.0.1", server.port))
    made = rpyc.connect_channel(channel)
    rig.on_end(made.close)
    return made


def requests(conn: Any) -> list[int]:
    """The handlers asked for since the last look, releases aside."""
    gc.collect()
    found = [handler for handler in conn._channel.handlers if handler != consts.HANDLE_DEL]
    conn._channel.handlers.clear()
    return found


def test_a_known_method_is_one_request(conn: Any) -> None:
    thing = conn.root.make()
    requests(conn)
    assert thing.add(1, 2) == 3
    assert requests(conn) == [consts.HANDLE_GETATTR, consts.HANDLE_CALL]
    conn._channel.handlers.clear()
    assert thing.add(1, b=2) == 3
    assert conn._channel.handlers == [consts.HANDLE_CALLATTR]


def test_it_can_be_turned_off(conn: Any) -> None:
    conn._config["fold_method_calls"] = False
    thing = conn.root.make()
    thing.add(1)
    requests(conn)
    thing.add(1)
    assert requests(conn) == [consts.HANDLE_GETATTR, consts.HANDLE_CALL]


def test_a_method_is_a_proxy_like_any_other(conn: Any) -> None:
    thing = conn.root.make()
    first, second = thing.add, thing.add
    assert requests(conn)[-1] == consts.HANDLE_GETATTR
    assert type(first) is type(second) and isinstance(second, BaseNetref) and callable(second)
    assert requests(conn) == []
    assert second.____id_pack__[0] == "builtins.method"
    assert repr(second) == repr(first) and str(second) == str(first)
    assert hash(second) == hash(first) and second == first
    assert "__self__" in dir(second)
    third = thing.add
    assert conn.root.call(third, 20, 22) == 42
    assert conn.root.same(third) is third
    fourth = thing.add
    assert rpyc.async_(fourth)(1, 2).value == 3
    assert [*map(thing.add, (1, 2), (3, 4))] == [4, 6]


def test_a_method_outlives_the_variable_of_its_object(conn: Any) -> None:
    thing = conn.root.make()
    thing.add(0)
    method = thing.add
    del thing
    gc.collect()
    conn.ping()
    assert method(1, 1) == 2


def test_an_attribute_that_vanished(conn: Any) -> None:
    thing = conn.root.make()
    thing.add(1)
    method = thing.add
    thing.change("gone")
    with pytest.raises(AttributeError):
        method(1)
    # From now on reading it says so.
    assert not hasattr(thing, "add")


def test_an_attribute_that_became_another_method(conn: Any) -> None:
    thing = conn.root.make()
    thing.add(1)
    thing.change("other")
    assert thing.add(1) == "other"


def test_an_attribute_that_is_no_method_any_more(conn: Any) -> None:
    thing = conn.root.make()
    thing.add(1)
    method = thing.add
    thing.change("value")
    with pytest.raises(AttributeError, match="add was a method of the remote object, and is none any more"):
        str(method)
    assert thing.add == 5
    with pytest.raises(TypeError):
        thing.add(1)


def test_setting_it_through_the_proxy_is_seen(rig: Rig) -> None:
    conn = rig.connect(rig.serve(Service(), {"allow_setattr": True}))
    thing = conn.root.make()
    thing.add(1)
    thing.exposed_add = 7
    assert thing.add == 7 and thing.exposed_add == 7


def test_references_return_to_the_baseline(rig: Rig) -> None:
    pair = rig.pair(Service())
    conn = pair.client
    thing = conn.root.make()
    thing.add(1)

    def held() -> int:
        gc.collect()
        conn.ping()
        return len(pair.server._local_objects)

    before = eventually(held)
    methods = [thing.add for _ in range(50)]
    assert held() == before
    texts = {str(method) for method in methods}
    assert len(texts) == 1
    del methods
    eventually(lambda: held() == before)
