"""The twenty requests, one by one, by hand: what each answers and what it refuses."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from conftest import Rig

import rpyc
from rpyc.core import brine, consts


class Old:
    """Answers the slicing protocol of Python 2."""

    def __getslice__(self, start: int, stop: int) -> Any:
        return ("slice", start, stop)

    def __setslice__(self, start: int, stop: int, value: Any) -> Any:
        return ("set", start, stop, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("no items")


class Manager:
    """Notes how it is left."""

    def __init__(self) -> None:
        self.left: Any = None

    def __enter__(self) -> str:
        return "in"

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        self.left = (kind, value, trace)
        return kind is not None


class Ordered:
    """Documented."""

    exposed_attribute = "attribute"

    class Inner:
        """No routine."""

    def __eq__(self, other: object) -> bool:
        return other == "same"

    def __lt__(self, other: object) -> Any:
        return NotImplemented

    def __hash__(self) -> int:
        return 4242

    def __repr__(self) -> str:
        return "Ordered-repr"

    def __str__(self) -> str:
        return "Ordered-str"

    def exposed_method(self, *args: Any, **kwargs: Any) -> Any:
        """The method's text."""
        return args, tuple(sorted(kwargs.items()))


class Service(rpyc.Service):
    """Hands out the above."""

    def __init__(self) -> None:
        self.managers: list[Manager] = []

    def exposed_old(self) -> Old:
        return Old()

    def exposed_manager(self) -> Manager:
        self.managers.append(Manager())
        return self.managers[-1]

    def exposed_ordered(self) -> Ordered:
        return Ordered()

    def exposed_cls(self) -> type[Ordered]:
        return Ordered

    def exposed_list(self, *items: Any) -> list[Any]:
        return list(items)

    def exposed_iterator(self, count: int) -> Any:
        return iter(range(count))


class Asker:
    """Sends requests by number over a real connection."""

    def __init__(self, rig: Rig, **config: Any) -> None:
        self.service = Service()
        self.pair = rig.pair(self.service, config)
        self.root = self.pair.client.root

    def __call__(self, handler: int, *args: Any) -> Any:
        """The answer; raises what the peer raised."""
        return self.pair.client.sync_request(handler, *args)

    def refused(self, kind: type[BaseException], text: str, handler: int, *args: Any) -> None:
        """Assert that the peer raises this."""
        with pytest.raises(kind) as error:
            self(handler, *args)
        assert text in str(error.value.args), error.value.args


@pytest.fixture
def ask(rig: Rig) -> Asker:
    """Requests under the default configuration."""
    return Asker(rig)


def test_ping(ask: Asker) -> None:
    """The data; exactly one argument."""
    assert ask(consts.HANDLE_PING, ("any", b"data")) == ("any", b"data")
    ask.refused(TypeError, "", consts.HANDLE_PING)
    ask.refused(TypeError, "", consts.HANDLE_PING, 1, 2)


def test_getroot(ask: Asker) -> None:
    """The service, the same proxy each time."""
    assert ask(consts.HANDLE_GETROOT) is ask.root


def test_attributes(ask: Asker) -> None:
    """Reading, writing and deleting, each with its own check."""
    ordered = ask.root.ordered()
    assert ask(consts.HANDLE_GETATTR, ordered, "attribute") == "attribute"
    assert ask(consts.HANDLE_GETATTR, ordered, b"attribute") == "attribute"
    ask.refused(TypeError, "name must be a string", consts.HANDLE_GETATTR, ordered, 3)
    ask.refused(AttributeError, "cannot access 'Inner'", consts.HANDLE_GETATTR, ordered, "Inner")
    ask.refused(AttributeError, "cannot access 'attribute'", consts.HANDLE_SETATTR, ordered, "attribute", 1)
    ask.refused(AttributeError, "cannot access 'attribute'", consts.HANDLE_DELATTR, ordered, "attribute")
    ask.refused(AttributeError, "access denied", consts.HANDLE_SETATTR, ask.root, "x", 1)
    ask.pair.server._config.update(allow_setattr=True, allow_delattr=True)
    assert ask(consts.HANDLE_SETATTR, ordered, "attribute", "new") is None
    assert ask(consts.HANDLE_GETATTR, ordered, "attribute") == "new"
    assert ask(consts.HANDLE_DELATTR, ordered, "attribute") is None
    assert ask(consts.HANDLE_GETATTR, ordered, "attribute") == "attribute"


def test_calls(ask: Asker) -> None:
    """Arguments are any iterable, keywords any iterable of pairs, and both calls agree."""
    ordered = ask.root.ordered()
    method = ordered.method
    assert ask(consts.HANDLE_CALL, method, (1, 2), (("k", 3),)) == ((1, 2), (("k", 3),))
    assert ask(consts.HANDLE_CALL, method, (1,)) == ((1,), ())
    assert ask(consts.HANDLE_CALL, method, "ab", frozenset([("k", 3)])) == (("a", "b"), (("k", 3),))
    assert ask(consts.HANDLE_CALLATTR, ordered, "method", (1, 2), (("k", 3),)) == ((1, 2), (("k", 3),))
    assert ask(consts.HANDLE_CALLATTR, ordered, "method", ()) == ((), ())
    ask.refused(AttributeError, "cannot access '__init__'", consts.HANDLE_CALLATTR, ordered, "__init__", ())
    ask.refused(TypeError, "not callable", consts.HANDLE_CALL, ordered, ())


def test_texts_hash_and_names(ask: Asker) -> None:
    """repr, str, hash and dir need no permission."""
    ordered = ask.root.ordered()
    assert ask(consts.HANDLE_REPR, ordered) == "Ordered-repr"
    assert ask(consts.HANDLE_STR, ordered) == "Ordered-str"
    assert ask(consts.HANDLE_HASH, ordered) == 4242
    assert ask(consts.HANDLE_DIR, ordered) == tuple(dir(Ordered()))
    ask.refused(TypeError, "unhashable", consts.HANDLE_HASH, ask.root.list())


def test_objects_may_be_anything(ask: Asker) -> None:
    """Plain values and objects of the asker's serve as the object of a request."""
    assert ask(consts.HANDLE_REPR, 5) == "5"
    assert ask(consts.HANDLE_STR, "text") == "text"
    assert ask(consts.HANDLE_HASH, (1, 2)) == hash((1, 2))
    assert ask(consts.HANDLE_CALLATTR, 5, "__add__", (6,)) == 11
    assert ask(consts.HANDLE_REPR, [1]) == "[1]"
    assert ask(consts.HANDLE_BUFFITER, (1, 2, 3), 2) == (1, 2)


def test_comparison(ask: Asker) -> None:
    """The operation is looked up on the type; NotImplemented comes back.

    6.0.2 applies any permitted method of one argument, which goes around the object's own access rule.
    """
    ordered = ask.root.ordered()
    assert ask(consts.HANDLE_CMP, ordered, "same", "__eq__") is True
    assert ask(consts.HANDLE_CMP, ordered, "other", "__ne__") is True
    assert ask(consts.HANDLE_CMP, ordered, 1, "__lt__") is NotImplemented
    for name in ("method", "__add__", "__init__"):
        ask.refused(AttributeError, f"cannot access '{name}'", consts.HANDLE_CMP, ordered, 1, name)
    ask.refused(AttributeError, "has no attribute '__cmp__'", consts.HANDLE_CMP, ordered, 1)


def test_pickle(ask: Asker, rig: Rig) -> None:
    """Only with permission; -1 is the highest protocol."""
    ask.refused(ValueError, "pickling is disabled", consts.HANDLE_PICKLE, ask.root.list(), 2)
    allowed = Asker(rig, allow_pickle=True)
    for protocol in (0, 2, -1):
        data = allowed(consts.HANDLE_PICKLE, allowed.root.list(1, "x"), protocol)
        assert pickle.loads(data) == [1, "x"]
    assert allowed(consts.HANDLE_PICKLE, 5, -1) == pickle.dumps(5, pickle.HIGHEST_PROTOCOL)


def test_inspect(ask: Asker) -> None:
    """Routines with their texts, under an id pack that travels by value."""
    ordered, kind = ask.root.ordered(), ask.root.cls()
    methods = dict(ask(consts.HANDLE_INSPECT, ordered.____id_pack__))
    assert methods["exposed_method"] == "The method's text."
    assert {"__format__", "__sizeof__", "__init_subclass__"} <= set(methods)
    assert not {"Inner", "exposed_attribute", "__eq__", "__repr__", "__class__"} & set(methods)
    assert {"mro", "__subclasses__", "exposed_method", "__call__"} <= set(dict(ask(consts.HANDLE_INSPECT, kind.____id_pack__)))
    ask.refused(KeyError, "nope.Nope", consts.HANDLE_INSPECT, ("nope.Nope", 1, 2))


def test_buffiter(ask: Asker) -> None:
    """Up to so many items; an iterator goes on, a list starts anew; None means all."""
    iterator, items = ask.root.iterator(5), ask.root.list(1, 2, 3)
    assert [ask(consts.HANDLE_BUFFITER, iterator, 2) for _ in range(4)] == [(0, 1), (2, 3), (4,), ()]
    assert ask(consts.HANDLE_BUFFITER, items, 2) == ask(consts.HANDLE_BUFFITER, items, 2) == (1, 2)
    assert ask(consts.HANDLE_BUFFITER, items, None) == (1, 2, 3)
    for wrong in (-1, 1.5):
        ask.refused(ValueError, "", consts.HANDLE_BUFFITER, items, wrong)
    ask.refused(TypeError, "not iterable", consts.HANDLE_BUFFITER, 5, 2)


def test_oldslicing(ask: Asker) -> None:
    """The item method with a slice, else the slice method; no end is the largest word."""
    import sys

    items, old = ask.root.list(1, 2, 3), ask.root.old()
    assert list(ask(consts.HANDLE_OLDSLICING, items, "__getitem__", "__getslice__", 0, 2, ())) == [1, 2]
    request = (consts.HANDLE_OLDSLICING, old, "__getitem__", "__getslice__")
    assert ask(*request, 1, 5, ()) == ("slice", 1, 5)
    assert ask(*request, 1, None, ()) == ("slice", 1, sys.maxsize)
    assert ask(consts.HANDLE_OLDSLICING, old, "__setitem__", "__setslice__", 1, 2, ("v",)) == ("set", 1, 2, "v")
    ask.refused(AttributeError, "__getslice__", consts.HANDLE_OLDSLICING, items, "__nope__", "__getslice__", 0, None, ())


def test_ctxexit(ask: Asker) -> None:
    """Something false leaves cleanly; an exception is raised there and handed over."""
    manager = ask.root.manager()
    assert ask(consts.HANDLE_CTXEXIT, manager, None) is False
    assert ask.service.managers[0].left == (None, None, None)
    assert ask(consts.HANDLE_CTXEXIT, manager, ValueError("as a value")) is True
    kind, value, _ = ask.service.managers[0].left
    assert isinstance(value, BaseException) and issubclass(kind, BaseException)
    ask.refused(AttributeError, "__exit__", consts.HANDLE_CTXEXIT, ask.root.list(), None)


def test_instancecheck(ask: Asker) -> None:
    """A class that this side knows nothing of has no instances here."""
    assert ask(consts.HANDLE_INSTANCECHECK, ask.root.cls(), ("some.Class", 1, 2)) is False
    assert ask(consts.HANDLE_INSTANCECHECK, ask.root.cls(), ("builtins.list", 1, 2)) is False


def test_del(ask: Asker) -> None:
    """What is not held cannot be released."""
    ask.refused(KeyError, "builtins.int", consts.HANDLE_DEL, 5)
    made = ask.root.ordered()
    assert ask(consts.HANDLE_DEL, made, 1) is None
    with pytest.raises(KeyError):
        repr(made)


def test_unknown_handlers(ask: Asker) -> None:
    """A KeyError with the number, and the connection goes on."""
    ask.refused(KeyError, "99", 99)
    ask.refused(KeyError, "0", 0)
    ask.pair.client.ping()


# By hand


def test_numbers_are_compared_not_identified(rig: Rig) -> None:
    """True and 1.0 are 1; other kinds of value are unknown handlers."""
    peer = rig.raw(Service())
    for one in (1, True, 1.0):
        assert peer.request(one, (1, ("data",))) == (consts.MSG_REPLY, (1, "data"))
    for other in ("ping", None, (1,), 10**30):
        kind, body = peer.request(other)
        assert kind == consts.MSG_EXCEPTION and body[0] == ("builtins", "KeyError")


def test_sequence_numbers_are_echoed(rig: Rig) -> None:
    """Whatever they are."""
    peer = rig.raw(Service())
    for sequence in (0, -1, 2**70, "abc", (1, 2), None, 1.5, b"\0"):
        peer.send(b"\x01" + brine.dump((sequence, (consts.HANDLE_PING, (1, ("p",))))))
        payload = peer.receive()
        assert payload is not None and payload[0] == consts.MSG_REPLY
        assert brine.load(payload[1:]) == (sequence, (1, "p"))


def test_labels(rig: Rig) -> None:
    """Arguments may be a value, a tuple of boxes or nested ones; wrong ones are the request's failure only."""
    peer = rig.raw(Service())
    accepted: list[Any] = [(1, ("d",)), (2, ((1, "d"),)), (1, "d"), (1, frozenset("d"))]
    for boxed in accepted:
        assert peer.request(consts.HANDLE_PING, boxed) == (consts.MSG_REPLY, (1, "d"))
    assert peer.request(consts.HANDLE_PING, (2, ((2, ((1, 1), (2, ()))),))) == (consts.MSG_REPLY, (1, (1, ())))
    wrong: dict[Any, str] = {
        (9, 1): "ValueError", (3, ("no.such", 1, 2)): "KeyError", (1, 5): "TypeError", (2, ((9, 1),)): "ValueError",
        (2, ((3, ("no.such", 1, 2)),)): "KeyError",
    }
    for boxed, name in wrong.items():
        kind, body = peer.request(consts.HANDLE_PING, boxed)
        assert kind == consts.MSG_EXCEPTION and body[0] == ("builtins", name), (boxed, body)
    assert peer.request(consts.HANDLE_PING, (1, ("on",))) == (consts.MSG_REPLY, (1, "on"))


def test_close_has_no_answer(rig: Rig) -> None:
    """The stream ends, and the service is told once."""
    ended: list[int] = []

    class Ending(rpyc.Service):
        def on_disconnect(self, conn: Any) -> None:
            ended.append(1)

    peer = rig.raw(Ending())
    with pytest.raises(EOFError):
        peer.request(consts.HANDLE_CLOSE)
    peer.served()
    assert ended == [1] and peer.conn.closed


def test_large_answers_are_compressed(rig: Rig) -> None:
    """Above 3000 bytes, unless the channel says otherwise; the choice is the sender's and the receiver reads both."""
    peer = rig.raw(Service())
    data = b"x" * 50_000
    assert peer.request(consts.HANDLE_PING, (1, (data,))) == (consts.MSG_REPLY, (1, data))
    assert peer.request(consts.HANDLE_PING, (1, (b"x" * 2000,))) == (consts.MSG_REPLY, (1, b"x" * 2000))


def test_table_is_the_connections_own(rig: Rig) -> None:
    """An entry may be replaced on one connection; the others keep theirs."""
    first, second = Asker(rig), Asker(rig)
    first.pair.server._HANDLERS[consts.HANDLE_PING] = lambda conn, data: (conn is first.pair.server, data)
    assert first(consts.HANDLE_PING, 1) == (True, 1)
    assert second(consts.HANDLE_PING, 1) == 1
