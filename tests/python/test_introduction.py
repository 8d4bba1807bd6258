"""The root of a connection comes with its methods: nobody can tell but by counting requests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from conftest import RawPeer, Rig, close_quietly, eventually, in_thread
from hostile import REMOTE, TUPLE, VALUE
from test_methods import Counting, requests

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.netref import BaseNetref
from rpyc.core.stream import SocketStream

GETROOT, GETATTR, CALL, CALLATTR = consts.HANDLE_GETROOT, consts.HANDLE_GETATTR, consts.HANDLE_CALL, consts.HANDLE_CALLATTR


class Ordinary(rpyc.Service):
    """Has methods, and what is none."""

    exposed_number = 5

    def __init__(self) -> None:
        vars(self)["exposed_shadowed"] = "an attribute of the instance"

    def exposed_add(self, a: Any, b: Any = 0) -> Any:
        """Add."""
        return a + b

    @rpyc.exposed
    def marked(self) -> str:
        return "marked"

    def exposed_shadowed(self) -> str:
        return "a method"

    def hidden(self) -> str:
        return "hidden"

    @property
    def exposed_counted(self) -> int:
        self.reads = getattr(self, "reads", 0) + 1
        return self.reads

    @staticmethod
    def exposed_static() -> str:
        return "static"

    exposed_Inner = type("Inner", (), {})


@pytest.fixture
def connect(rig: Rig) -> Callable[..., Any]:
    """Connects to a service, and counts what the client asks."""

    def connected(service: Any, config: dict[str, Any] | None = None, **server_config: Any) -> Any:
        server = rig.serve(service, config=server_config)
        channel = Counting(SocketStream.connect("127.0.0.1", server.port))
        conn = rpyc.connect_channel(channel, config=config or {})
        rig.on_end(conn.close)
        return conn

    return connected


def test_the_first_call_takes_two_requests(connect: Any) -> None:
    conn = connect(Ordinary)
    assert conn.root.add(1, b=2) == 3
    assert conn.root.exposed_add(2, 2) == 4
    assert conn.root.marked() == "marked"
    assert requests(conn) == [GETROOT, CALLATTR, CALLATTR, CALLATTR]


def test_what_is_no_method_is_asked_for(connect: Any) -> None:
    conn = connect(Ordinary)
    root = conn.root
    assert root.number == 5
    assert root.shadowed == "an attribute of the instance"
    assert root.counted < root.counted
    assert root.static() == "static"
    assert isinstance(root.Inner(), BaseNetref)
    for name in ("hidden", "missing", "exposed_hidden", "_private"):
        with pytest.raises(AttributeError):
            getattr(root, name)
        assert not hasattr(root, name)
    asked = requests(conn)
    assert asked.count(GETATTR) == 6 + 2 * 4, asked


def test_a_method_is_read_before_it_is_called(connect: Any) -> None:
    conn = connect(Ordinary)
    method = conn.root.add
    assert requests(conn) == [GETROOT]
    assert isinstance(method, BaseNetref) and callable(method)
    assert "exposed_add" in repr(method)
    assert method(20, 22) == 42


def test_an_asynchronous_call_waits_for_nothing(connect: Any) -> None:
    """A method that was read before something else was begun is not fetched: that would be to wait for it."""
    conn = connect(Ordinary)
    add = conn.root.add
    conn.ping()
    requests(conn)
    assert rpyc.async_(add)(1, b=1).value == 2
    assert rpyc.timed(add, 20)(3, 4).value == 7
    assert requests(conn) == [CALLATTR, CALLATTR]
    with pytest.raises(CancelledError, match='CALLATTR "add" was cancelled'):
        cancelled(rpyc.async_(add)(1)).wait()


def test_what_was_just_read_is_fetched(connect: Any) -> None:
    """Before it is called asynchronously, as ever: programs count on what happens in that time."""
    conn = connect(Ordinary)
    add = rpyc.async_(conn.root.add)
    assert requests(conn) == [GETROOT, GETATTR]
    conn.ping()
    assert add(1, b=1).value == 2
    assert requests(conn) == [consts.HANDLE_PING, CALL]


def test_what_is_called_again_and_again_is_fetched(connect: Any) -> None:
    """Its owner need not look it up each time then."""
    conn = connect(Ordinary)
    add = conn.root.add
    assert [add(n, 1) for n in range(100)] == [*range(1, 101)]
    asked = requests(conn)
    assert asked[0] == GETROOT and asked.count(GETATTR) == 1
    assert set(asked[1 : asked.index(GETATTR)]) == {CALLATTR}
    assert set(asked[asked.index(GETATTR) + 1 :]) == {CALL}


def cancelled(result: Any) -> Any:
    result.cancel()
    return result


def test_docs_and_operators(connect: Any) -> None:
    class Adding(rpyc.Service):
        def __add__(self, other: Any) -> Any:
            """What `+` does."""
            return ("sum", other)

        def __len__(self) -> int:
            return 3

    conn = connect(Adding, allow_safe_attrs=True)
    assert conn.root + 1 == ("sum", 1)
    assert len(conn.root) == 3
    assert type(conn.root).__add__.__doc__ == "What `+` does."
    assert consts.HANDLE_INSPECT not in requests(conn)


def test_a_text_that_changed_between_two_connections(connect: Any) -> None:
    def exposed_told(self: Any) -> None:
        """Before."""

    service = type("Told", (rpyc.Service,), {"exposed_told": exposed_told})
    assert type(connect(service).root).exposed_told.__doc__ == "Before."
    exposed_told.__doc__ = "After."
    assert type(connect(service).root).exposed_told.__doc__ == "After."


@pytest.mark.parametrize(
    ("config", "reached"),
    [
        ({}, {"exposed_add", "add"}),
        ({"exposed_prefix": "ad"}, {"add", "adder", "d"}),
        ({"allow_exposed_attrs": False}, set()),
        ({"allow_exposed_attrs": False, "allow_public_attrs": True}, {"exposed_add", "add", "adder"}),
        ({"allow_public_attrs": True}, {"exposed_add", "add", "adder"}),
        ({"allow_all_attrs": True}, {"exposed_add", "add", "adder", "_add"}),
        ({"allow_safe_attrs": True, "safe_attrs": {"adder"}}, {"exposed_add", "add", "adder"}),
        ({"allow_getattr": False}, set()),
    ],
)
def test_the_rules_hold(connect: Any, config: dict[str, Any], reached: set[str]) -> None:
    class Ruled:
        """No `rpyc.Service`, which would make what it exposes reachable under every rule."""

        def exposed_add(self) -> str:
            return "exposed_add"

        def add(self) -> str:
            return "add"

        def adder(self) -> str:
            return "adder"

        def _add(self) -> str:
            return "_add"

        def on_connect(self, conn: Any) -> None:
            """As a service has it."""

        def on_disconnect(self, conn: Any) -> None:
            """As a service has it."""

    class Offering(rpyc.Service):
        def on_connect(self, conn: Any) -> None:
            conn._local_root = Ruled()

    conn = connect(Offering, **config)
    plain = connect(Offering, {"fold_method_calls": False}, **config)
    for name in ("exposed_add", "add", "adder", "_add", "d", "exposed_adder"):
        outcomes = []
        for root in (conn.root, plain.root):
            try:
                outcomes.append(getattr(root, name)())
            except AttributeError as error:
                outcomes.append(str(error).split("Remote Traceback")[0])
        assert outcomes[0] == outcomes[1], name
        assert (name in reached) == (outcomes[0] in ("exposed_add", "add", "adder", "_add")), (name, outcomes)


def test_a_root_with_a_rule_of_its_own(connect: Any) -> None:
    class Own(rpyc.Service):
        def exposed_add(self) -> str:
            return "never reached"

        def _rpyc_getattr(self, name: str) -> Any:
            return f"the rule's {name}"

    assert connect(Own).root.add == "the rule's add"


def test_a_root_that_answers_to_every_name(connect: Any) -> None:
    class Every(rpyc.Service):
        def exposed_add(self) -> str:
            return "a method"

        def __getattribute__(self, name: str) -> Any:
            return "everything" if name == "exposed_add" else super().__getattribute__(name)

    assert connect(Every).root.add == "everything"


class Rootless(rpyc.Connection):
    """Tells nobody that it ended: its root may be anything."""

    def _cleanup(self, _anyway: bool = True) -> None:
        self._local_root = None
        super()._cleanup(_anyway)


@pytest.mark.parametrize("root", [None, 5, ("introduction", ((), ()), 7), dict, socket], ids=repr)
def test_a_root_that_is_no_instance(connect: Any, root: Any) -> None:
    class Offering(rpyc.Service):
        _protocol = Rootless

        def on_connect(self, conn: Any) -> None:
            conn._local_root = root

    found = connect(Offering).root
    if isinstance(found, BaseNetref):
        assert repr(found) == repr(root)
    else:
        assert found == root


def test_overridden_handlers_decide(rig: Rig) -> None:
    class Deciding(rpyc.Connection):
        def _handle_getroot(self) -> Any:
            return "another root"

    class Telling(rpyc.Connection):
        def _handle_inspect(self, id_pack: Any) -> Any:
            return (("exposed_add", "Told by the override."),)

    for cls, check in (
        (Deciding, lambda conn: conn.root == "another root"),
        (Telling, lambda conn: type(conn.root).exposed_add.__doc__ == "Told by the override."),
    ):
        service = type("Overridden", (Ordinary,), {"_protocol": cls})
        conn = rpyc.connect("127.0.0.1", rig.serve(service).port)
        rig.on_end(conn.close)
        assert check(conn)


def test_gated_introspection(connect: Any) -> None:
    """Methods that a peer may not reach are not told either."""
    conn = connect(Ordinary, **rpyc.STRICT)
    assert conn.root.add(1, 2) == 3
    assert not hasattr(type(conn.root), "hidden")
    assert consts.HANDLE_INSPECT not in requests(conn)


def test_setting_an_attribute_forgets(connect: Any) -> None:
    class Changing(rpyc.Service):
        def exposed_add(self) -> str:
            return "a method"

        def _rpyc_setattr(self, name: str, value: Any) -> None:
            setattr(self, "exposed_" + name, value)

    conn = connect(Changing)
    assert conn.root.add() == "a method"
    conn.root.add = 5
    assert conn.root.add == 5


def told(answer: Any) -> Any:
    """What a client makes of an answer to GETROOT."""
    mine, theirs = socket.socketpair()
    peer = RawPeer(mine)
    conn = rpyc.connect_channel(Channel(SocketStream(theirs)), config={"sync_request_timeout": 20})
    try:
        root = in_thread(lambda: conn.root)
        asked = peer.receive()
        assert asked is not None
        seq, (handler, args) = brine.load(asked[1:])
        # To who does not know it, it is the request that RPyC makes.
        assert (handler, args) == (GETROOT, (VALUE, ()))
        peer.send(bytes([consts.MSG_REPLY]) + brine.dump((seq, answer)))
        return eventually(lambda: root.done() and root).result()
    finally:
        mine.close()
        close_quietly(conn)


ROOT = (REMOTE, ("mymod.Root", 5, 6))


@pytest.mark.parametrize(
    "boxed",
    [
        (VALUE, ("introduction", ((), ()), 5)),
        (TUPLE, ((VALUE, "introduction"), (VALUE, ((), ())), (VALUE, 5))),
        (TUPLE, ((VALUE, "introduction"), (VALUE, ()), (REMOTE, ("builtins.list", 5, 6)))),
        (TUPLE, ((VALUE, "introduction"), (VALUE, ((), (1, 2))), (REMOTE, ("builtins.list", 5, 6)))),
        (TUPLE, ((VALUE, "something"), (VALUE, ((), ())), (REMOTE, ("builtins.list", 5, 6)))),
        (TUPLE, ((VALUE, "introduction"), (REMOTE, ("builtins.list", 5, 6)))),
    ],
)
def test_what_is_no_introduction_is_the_root(boxed: Any) -> None:
    assert isinstance(told(boxed), tuple)


def test_methods_that_are_none() -> None:
    with pytest.raises(TypeError, match="does not say what methods a class has"):
        told((TUPLE, ((VALUE, "introduction"), (VALUE, (5, ())), ROOT)))


def test_as_many_names_as_there_may_be() -> None:
    names = tuple(f"name{number}" for number in range(10_000))
    root = told((TUPLE, ((VALUE, "introduction"), (VALUE, ((("name0", "Doc."),), names)), ROOT)))
    assert root.name1.____conn__ is root.____conn__
