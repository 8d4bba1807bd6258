"""References under load: in flight while they are released, by the ten thousand, in finalizers and in cycles.

`make stress` (`RPYC_STRESS=1`) runs the full numbers, with delays at each hand-over between threads.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread, in_threads

import rpyc

FULL = bool(os.environ.get("RPYC_STRESS"))
ROUNDS = 10_000 if FULL else 1_500
PROXIES = 1_000_000 if FULL else 40_000


class Thing:
    """Weakly referable."""

    other: Any = None


class Service(rpyc.Service):
    """Calls what it is given and lets go of it at once; makes and links things."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.made: list[weakref.ref[Thing]] = []

    def exposed_fire(self, function: Any, *args: Any) -> None:
        # The request is on its way when the last proxy dies: the release follows it closely.
        self.answers.append(rpyc.async_(function)(*args))

    def exposed_call(self, function: Any) -> Any:
        return function()

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_make(self) -> Thing:
        thing = Thing()
        self.made.append(weakref.ref(thing))
        return thing

    def exposed_link(self, thing: Thing, other: Any) -> None:
        thing.other = other

    def exposed_noisy(self, call: Any) -> Any:
        return Noisy(call)

    def alive(self) -> int:
        """How many of the things made here still exist."""
        gc.collect()
        return sum(thing() is not None for thing in self.made)


class Noisy:
    """Makes a call when it dies."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call()


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads give way to each other all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def litter() -> Iterator[None]:
    """Garbage is collected every few allocations, so inside of everything."""
    before = gc.get_threshold()
    # What other tests have left would be looked through each time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5, 2, 2)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def held(conn: Any) -> int:
    """How many objects an end holds for its peer."""
    return len(conn._local_objects._dict)


@pytest.mark.timeout(600)
def test_a_release_does_not_overtake_the_call_before_it(rig: Rig, hasty: None) -> None:
    """A callback is called and let go in one breath; several threads read, so any may get the one or the other."""
    service = Service()
    pair = rig.pair(service, client_config={"sync_request_timeout": 300}, config={"sync_request_timeout": 300})
    conn = pair.client
    fire, same = conn.root.fire, conn.root.same
    before = held(conn)
    for _ in range(3):
        in_thread(conn.serve_all)
    called: set[int] = set()

    def work(base: int) -> None:
        for n in range(base, base + ROUNDS // 4):
            # Its own function each time, and the same one twice in flight now and then.
            function = lambda value, n=n: called.add(n) or (n, value)  # noqa: E731
            fire(function, n)
            if n % 3 == 0:
                fire(function, n)
                assert same(n) == n

    bases = range(0, 4_000_000, 1_000_000)
    for future in [in_thread(lambda base=base: work(base)) for base in bases]:
        future.result(500)
    for result in service.answers:
        # A KeyError would be raised here.
        n, value = result.value
        assert n == value
    assert called == {n for base in bases for n in range(base, base + ROUNDS // 4)}
    del result
    service.answers.clear()
    eventually(lambda: pair.server.ping() or held(conn) == before)


def test_identities_are_never_used_again(rig: Rig) -> None:
    """Objects that come and go at the same addresses have identities of their own."""
    pair = rig.pair(Service())
    make = pair.client.root.make
    # A class is the same thing each time; instances are not.
    seen = {make().____id_pack__ for _ in range(3_000)}
    assert len(seen) == 3_000


def resident() -> int:
    """The resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(900)
def test_proxies_leave_nothing_behind(rig: Rig) -> None:
    """Made, used and dropped, of old and of new classes: tables and memory return to where they were."""
    pair = rig.pair(Service(), client_config={"allow_public_attrs": True})
    conn = pair.client
    make, same = conn.root.make, conn.root.same

    def churn(count: int) -> None:
        for n in range(count // 2):
            thing = make()
            # Of ours, and back.
            assert same(thing) is thing
            same([n])
            del thing

    def settled() -> tuple[int, int, int]:
        gc.collect()
        conn.ping()
        pair.server._local_root.made.clear()
        return held(conn), held(pair.server), sys.getallocatedblocks()

    churn(10_000)
    tables = settled()
    memory = resident()
    for _ in range(10):
        churn(PROXIES // 10)
        pair.server._local_root.made.clear()
    after = settled()
    assert after[:2] == tables[:2]
    # What the allocator keeps for later is not counted; a hundred bytes a proxy would be.
    assert after[2] - tables[2] < PROXIES // 100
    assert resident() - memory < max(4 << 20, 20 * PROXIES)


def test_finalizers_of_the_peers_objects_make_calls(rig: Rig) -> None:
    """A proxy is dropped; the object it stood for calls back from its finalizer, which calls in turn."""
    pair = rig.pair(Service())
    conn = pair.client
    same = conn.root.same
    seen: list[int] = []
    last_words = lambda: seen.append(same(len(seen)))  # noqa: E731
    for n in range(100):
        noisy = conn.root.noisy(last_words)
        del noisy
        eventually(lambda n=n: conn.poll_all() or len(seen) == n + 1)
    assert seen == list(range(100))


ELSEWHERE = """
import gc
import weakref
import rpyc
from rpyc.utils.server import ThreadedServer

class Thing:
    pass

class Service(rpyc.Service):
    made = []
    def exposed_make(self):
        thing = Thing()
        self.made.append(weakref.ref(thing))
        return thing
    def exposed_same(self, value):
        return value
    def exposed_alive(self):
        gc.collect()
        return sum(thing() is not None for thing in self.made)

server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
thread = server._start_in_thread()
print(server.port, flush=True)
thread.join()
"""


def test_garbage_with_finalizers_inside_of_sending(rig: Rig, litter: None, hasty: None) -> None:
    """Cyclic garbage dies at any step of a call; its finalizers make calls on the same connection.

    The server is another process: a collection in its thread must not need that thread.
    """
    conn = rpyc.connect("127.0.0.1", int(rig.program(ELSEWHERE).line()))
    rig.on_end(conn.close)
    make, same, alive = conn.root.make, conn.root.same, conn.root.alive
    calls = threading.Semaphore(0)

    def last_words() -> None:
        assert same("from a finalizer") == "from a finalizer"
        calls.release()

    def work() -> None:
        for n in range(60):
            noisy = Noisy(last_words)
            # Only the collector finds it, wherever it runs next.
            noisy.cycle = (noisy, make())  # type: ignore[attr-defined]
            del noisy
            assert same((n, [n]))[0] == n

    in_threads(work, work, work)
    for _ in range(180):
        gc.collect()
        assert calls.acquire(timeout=PATIENCE)
    eventually(lambda: alive() == 0)


def test_a_cycle_across_the_wire_ends_with_the_connection(rig: Rig) -> None:
    """Nobody can see that such a cycle is garbage; closing the connection lets both halves go."""
    service = Service()
    pair = rig.pair(service, {"allow_public_attrs": True})
    conn = pair.client
    mine = [Thing() for _ in range(20)]
    for thing in mine:
        theirs = conn.root.make()
        thing.other = theirs
        conn.root.link(theirs, thing)
        del theirs
    gone = [weakref.ref(thing) for thing in mine]
    del thing, mine
    gc.collect()
    assert service.alive() == 20
    conn.close()
    pair.ended.result(PATIENCE)
    eventually(lambda: service.alive() == 0 and not any(ref() for ref in gone))
