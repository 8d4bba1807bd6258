"""Who keeps what alive: objects live while the peer holds a proxy, and no longer."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from conftest import Rig, eventually, in_threads

import rpyc
from rpyc.core import consts


class Thing:
    """Weakly referable, and counted."""


class Service(rpyc.Service):
    """Makes things and remembers them weakly."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Thing]] = []
        self.kept: list[Any] = []
        self.shared = Thing()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def alive(self) -> int:
        """How many of the things made here still exist."""
        gc.collect()
        return sum(thing() is not None for thing in self.made)

    def exposed_make(self) -> Thing:
        thing = Thing()
        self.made.append(weakref.ref(thing))
        return thing

    def exposed_make_late(self) -> Thing:
        self.entered.set()
        assert self.gate.wait(20)
        return self.exposed_make()

    def exposed_shared(self) -> Thing:
        return self.shared

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_thrice(self, value: Any) -> Any:
        return value, value, value

    def exposed_keep(self, value: Any) -> None:
        self.kept.append(value)

    def exposed_drop(self) -> None:
        self.kept.clear()
        gc.collect()

    def exposed_call(self, function: Any) -> Any:
        return function()


def held(conn: Any) -> int:
    """How many objects an end holds for its peer."""
    return len(conn._local_objects._dict)


def settled(conn: Any) -> None:
    """Every release sent so far has been applied by the peer: a ping comes after them."""
    gc.collect()
    conn.ping()


def test_objects_live_as_long_as_their_proxies(rig: Rig) -> None:
    """Not gone with the first of two variables; gone with the last."""
    service = Service()
    conn = rig.pair(service).client
    first = conn.root.make()
    second = first
    del first
    settled(conn)
    assert service.alive() == 1
    del second
    settled(conn)
    eventually(lambda: service.alive() == 0)


def test_release_has_arrived_with_the_next_request(rig: Rig) -> None:
    """A release is sent before anything that follows it."""
    service = Service()
    conn = rig.pair(service).client
    for _ in range(20):
        thing = conn.root.make()
        del thing
        gc.collect()
        conn.ping()
        assert service.alive() == 0


def test_counts_return_to_the_baseline(rig: Rig) -> None:
    """However often an object crossed, in either direction, alone or in tuples."""
    service = Service()
    pair = rig.pair(service)
    conn = pair.client
    root = conn.root
    settled(conn)
    baseline = held(pair.server)
    things = [root.make() for _ in range(10)]
    for thing in things:
        assert root.same(thing) is thing
        assert root.thrice(thing) == (thing, thing, thing)
        assert root.same((thing, (thing,)))[1][0] is thing
    assert service.alive() == 10
    del thing, things
    settled(conn)
    eventually(lambda: conn.poll_all() or (service.alive(), held(pair.server)) == (0, baseline))


def test_own_objects_are_let_go_by_the_peer(rig: Rig) -> None:
    """What a client passes is held for the peer exactly as long as the peer holds it."""
    pair = rig.pair(Service())
    conn = pair.client
    keep, drop, size = conn.root.keep, conn.root.drop, conn.root.same
    thing = Thing()
    gone = weakref.ref(thing)
    before = held(conn)
    keep(thing)
    keep(thing)
    assert size(thing) is thing
    identity = next(key for key in conn._local_objects._dict if key[0] == f"{__name__}.Thing")
    assert conn._local_objects[identity] is thing
    del thing
    assert gone() is not None
    drop()
    eventually(lambda: conn.poll_all() or gone() is None)
    assert held(conn) == before


def test_one_object_for_many_connections(rig: Rig) -> None:
    """Each connection counts for itself."""
    service = Service()
    server = rig.serve(service)
    first, second = rig.connect(server), rig.connect(server)
    thing = first.root.make()
    other = first.root.shared()
    assert second.root.shared() is not other
    second.close()
    assert hash(thing) == hash(service.made[0]())
    assert service.alive() == 1


def test_close_lets_everything_go(rig: Rig) -> None:
    """Closing clears the tables of both ends, whatever proxies still exist."""
    service = Service()
    pair = rig.pair(service)
    things = [pair.client.root.make() for _ in range(5)]
    pair.client.close()
    pair.ended.result(10)
    eventually(lambda: service.alive() == 0)
    assert held(pair.client) == held(pair.server) == 0
    assert len(things) == 5


def test_proxies_may_outlive_their_connection(rig: Rig) -> None:
    """Dropping a proxy of a closed connection is silent."""
    pair = rig.pair(Service())
    thing = pair.client.root.make()
    pair.client.close()
    del thing
    gc.collect()
    assert pair.client.closed


def test_released_identity_is_unknown(rig: Rig) -> None:
    """A released object can't be reached by its old identity."""
    pair = rig.pair(Service())
    conn = pair.client
    thing = conn.root.make()
    identity = thing.____id_pack__
    del thing
    settled(conn)
    eventually(lambda: identity not in pair.server._local_objects._dict)
    with pytest.raises(KeyError):
        conn.sync_request(consts.HANDLE_INSPECT, identity)


def test_counted_releases(rig: Rig) -> None:
    """By hand: three references and releases of one, two and more than there are."""
    peer = rig.raw(Service())
    root = peer.request(consts.HANDLE_GETROOT)[1][1]

    def fetch() -> Any:
        return peer.request(consts.HANDLE_CALLATTR, (2, ((3, root), (1, "shared"), (1, ()))))[1][1]

    def release(*count: int) -> Any:
        return peer.request(consts.HANDLE_DEL, (2, ((3, thing), *((1, n) for n in count))))[1]

    def known() -> bool:
        return bool(peer.request(consts.HANDLE_HASH, (2, ((3, thing),)))[0] == consts.MSG_REPLY)

    thing = fetch()
    assert fetch() == fetch() == thing
    assert release(1) == (1, None) and known()
    assert release(0) == (1, None) and known()
    assert release(2) == (1, None) and not known()
    thing = fetch()
    assert release() == (1, None) and not known()
    thing = fetch()
    assert release(50) == (1, None) and not known()
    assert peer.request(consts.HANDLE_DEL, (2, ((3, thing), (1, 1))))[0] == consts.MSG_EXCEPTION


def test_a_reference_that_arrives_while_the_proxy_dies(rig: Rig) -> None:
    """One thread keeps dropping what another keeps fetching: every proxy works, and nothing stays behind.

    Sane where 6.0.2 is not: it revives a proxy whose release is already on its way, and the counts go wrong.
    """
    pair = rig.pair(Service())
    conn = pair.client
    shared = conn.root.shared
    wrong: list[BaseException] = []

    def fetch() -> None:
        for _ in range(150):
            proxy = shared()
            try:
                hash(proxy)
            except BaseException as error:
                wrong.append(error)
            del proxy

    in_threads(fetch, fetch, fetch)
    assert wrong == []
    settled(conn)
    eventually(lambda: conn.poll_all() or not any("Thing" in key[0] for key in pair.server._local_objects._dict))


def test_late_answers_are_let_go(rig: Rig) -> None:
    """An object in an answer that nobody waits for any more does not stay with its owner."""
    service = Service()
    conn = rig.pair(service).client
    result = rpyc.async_(conn.root.make_late)()
    # Before it has begun it would not be.
    eventually(service.entered.is_set)
    result.set_expiry(0)
    with pytest.raises(TimeoutError):
        result.wait()
    service.gate.set()
    eventually(lambda: service.made)
    eventually(lambda: conn.poll_all() or service.alive() == 0)


def test_finalizers_run_without_locks(rig: Rig) -> None:
    """An object whose finalizer uses the connection can be let go at any moment."""
    service = Service()
    pair = rig.pair(service)
    conn = pair.client
    same = conn.root.same
    seen: list[int] = []

    class Noisy:
        def __del__(self) -> None:
            seen.append(same(1))

    conn.root.keep(Noisy())
    conn.root.drop()
    eventually(lambda: conn.poll_all() or seen == [1])


def test_collection_in_the_middle_of_calls(rig: Rig) -> None:
    """Cyclic garbage with proxies in it is collected inside sends and receives, in several threads."""
    service = Service()
    pair = rig.pair(service)
    conn = pair.client
    make = conn.root.make
    before = gc.get_threshold()
    gc.set_threshold(10)
    rig.on_end(gc.set_threshold, *before)

    def litter() -> None:
        for _ in range(60):
            cycle: list[Any] = [make()]
            cycle.append(cycle)

    in_threads(litter, litter)
    settled(conn)
    eventually(lambda: conn.poll_all() or service.alive() == 0)
