"""Set-up, ping, names, release and the end of a connection."""

from __future__ import annotations

import gc
import os
from typing import Any

import rpyc
from rpyc.core.netref import BaseNetref

from .registry import eventually, raises, scenario


@scenario
def ping(peer: Any) -> None:
    """With the default data, with one's own, and with a large block."""
    conn = peer.connect()
    conn.ping()
    conn.ping("data", timeout=10)
    conn.ping(b"x" * 100000)
    conn.ping(os.urandom(100000))


@scenario
def root_names(peer: Any) -> None:
    """The root, the name of its service and its aliases."""
    conn = peer.connect()
    assert conn.root is conn.root
    assert conn.root.get_service_name() == "INTEROP"
    assert tuple(conn.root.get_service_aliases()) == ("INTEROP", "SECOND")
    assert conn.root.exposed_get_service_name() == "INTEROP"
    assert repr(type(conn.root)) == "<netref class 'rpyc.core.netref.interop_service.InteropService'>"


@scenario
def references_return_to_the_baseline(peer: Any) -> None:
    """Whatever the client lets go of, the server lets go of too."""
    conn = peer.connect()
    root = conn.root
    root.live_objects()
    baseline = root.live_objects()
    held = [root.shelf(n) for n in range(30)]
    shelf = held[0]
    for _ in range(5):
        assert root.same(shelf) is shelf
    assert all(item is shelf for item in root.thrice(shelf))
    assert root.live_objects() >= baseline + 30
    list(root.generator(5))
    methods = [shelf.put for _ in range(10)]
    assert len(methods) == 10
    del held, methods
    eventually(root.live_objects, baseline + 1)
    assert shelf.put(1) == 2, "what is still held still works"
    del shelf
    eventually(root.live_objects, baseline)


@scenario
def client_references_return_to_the_baseline(peer: Any) -> None:
    """The other way round: what the server lets go of, the client does too."""
    conn = peer.connect()
    root = conn.root
    root.same([])

    def held() -> int:
        conn.poll_all()
        return len(conn._local_objects._dict)

    root.drop()
    gc.collect()
    baseline = held()

    class Thing:
        pass

    root.keep(Thing())
    assert len(conn._local_objects._dict) > baseline
    root.apply(lambda: None)
    for _ in range(10):
        root.size([1, 2, 3])
    root.drop()
    # The class of a kept instance never crosses, so the count comes all the way back.
    eventually(held, baseline)


@scenario
def close_by_the_client(peer: Any) -> None:
    """Afterwards everything that belonged to the connection says EOFError at once."""
    conn = peer.connect()
    shelf, method = conn.root.shelf(1), conn.root.same
    conn.close()
    conn.close()
    assert conn.closed
    raises(EOFError, method, 1)
    raises(EOFError, lambda: shelf.put)
    raises(EOFError, lambda: shelf[0])
    raises(EOFError, repr, shelf)
    raises(EOFError, conn.ping)
    raises(EOFError, lambda: conn.root)
    assert isinstance(shelf, BaseNetref)


@scenario
def close_by_the_server(peer: Any) -> None:
    """The server hangs up in the middle of a call: the caller is told at once."""
    conn = peer.connect()
    raises(EOFError, conn.root.hang_up)
    eventually(lambda: conn.closed, True)
    raises(EOFError, conn.ping)


@scenario
def connection_as_a_context_manager(peer: Any) -> None:
    """Leaving the block closes."""
    with peer.connect() as conn:
        assert conn.root.same(1) == 1
    assert conn.closed


@scenario
def before_closed(peer: Any) -> None:
    """The callback gets the root, and remote calls still work in it."""
    seen: list[Any] = []
    conn = peer.connect(before_closed=lambda root: seen.append(root.same("bye")))
    conn.root.same(1)
    conn.close()
    assert seen == ["bye"]


@scenario
def several_connections(peer: Any) -> None:
    """Connections to one server are separate: closing one leaves the other."""
    first, second = peer.connect(), peer.connect()
    thing = second.root.shelf(5)
    first.root.keep([])
    first.close()
    assert thing[0] == 5
    assert second.root.same(2) == 2


@scenario
def chained_objects(peer: Any) -> None:
    """An object of one server is handed to another and comes back as the same proxy."""
    first, second = peer.connect(allow_all_attrs=True), peer.connect()
    shelf = first.root.shelf(1, 2, 3)
    assert second.root.same(shelf) is shelf
    assert second.root.size(shelf) == 3
    assert second.root.apply(shelf.put, 4) == 4
    assert len(shelf) == 4


@scenario
def background_serving(peer: Any) -> None:
    """A client that serves in the background is called without asking for it."""
    import threading

    conn = peer.connect()
    called = threading.Event()
    background = rpyc.BgServingThread(conn)
    try:
        result = rpyc.async_(conn.root.apply)(called.set)
        assert called.wait(10)
        assert result.value is None
    finally:
        background.stop()
