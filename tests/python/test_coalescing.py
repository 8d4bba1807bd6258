"""Frames that follow each other quickly leave together, and none waits for what does not come."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually

import rpyc


class Thing:
    """Goes by reference."""


class Lingering:
    """Its finalizer takes as long as it is made to."""

    def __init__(self, gate: threading.Event, gone: threading.Event) -> None:
        self.gate, self.gone = gate, gone

    def __del__(self) -> None:
        self.gate.wait(PATIENCE)
        self.gone.set()


class Service(rpyc.Service):
    """Quick handlers, and one that takes as long as it is made to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.finalizer = threading.Event()
        self.noted: list[int] = []
        self.things: weakref.WeakSet[Thing] = weakref.WeakSet()

    def exposed_note(self, number: int) -> None:
        self.noted.append(number)

    def exposed_same(self, obj: Any) -> Any:
        return obj

    def exposed_wait(self) -> bool:
        return self.gate.wait(PATIENCE)

    def exposed_call(self, function: Any) -> Any:
        return function()

    def exposed_lingering(self) -> Lingering:
        self.finalizer = threading.Event()
        return Lingering(self.gate, self.finalizer)

    def exposed_make(self) -> Thing:
        thing = Thing()
        self.things.add(thing)
        return thing


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.gate.set()


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("quick", [1, 7, 40, 1000])
def test_no_answer_waits_behind_a_slow_handler(
    rig: Rig, service: Service, unix: bool, quick: int
) -> None:
    """However quick the handlers before were: what they answered is here while the slow one still runs."""
    conn = rig.connect(rig.serve(service, unix=unix))
    same, wait = rpyc.async_(conn.root.same), rpyc.async_(conn.root.wait)
    for _ in range(5):
        service.gate.clear()
        results = [same(n) for n in range(quick)]
        last = wait()
        for n, result in enumerate(results):
            result.wait(PATIENCE / 2)
            assert result.value == n
        assert not last.ready
        service.gate.set()
        assert last.value is True


@pytest.mark.parametrize("quick", [1, 7, 40])
def test_no_answer_waits_behind_a_slow_finalizer(rig: Rig, service: Service, quick: int) -> None:
    """The object dies with the release of its proxy, which arrives together with calls."""
    conn = rig.connect(rig.serve(service))
    same, make = rpyc.async_(conn.root.same), conn.root.lingering
    for _ in range(5):
        service.gate.clear()
        lingering = make()
        results = [same(n) for n in range(quick)]
        del lingering
        for n, result in enumerate(results):
            result.wait(PATIENCE / 2)
            assert result.value == n
        assert not service.finalizer.is_set()
        service.gate.set()
        assert service.finalizer.wait(PATIENCE)


def test_a_handler_that_calls_back_sends_what_is_finished(rig: Rig, service: Service) -> None:
    """The callback runs at the client after the answers before it have come, in their order."""
    conn = rig.connect(rig.serve(service))
    same, call = rpyc.async_(conn.root.same), rpyc.async_(conn.root.call)
    for _ in range(5):
        results = [same(n) for n in range(200)]
        nested = call(lambda results=results: sum(result.ready for result in results))
        assert nested.value == len(results)


def test_the_child_of_a_fork_holds_nothing_back_for_ever(rig: Rig) -> None:
    """The thread that sends late answers is not there in the child: it starts another."""
    program = rig.program(
        """
import os, threading, rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_same(self, obj): return obj
    def exposed_wait(self, seconds): return threading.Event().wait(seconds)

def use():
    server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
    thread = server._start_in_thread()
    conn = rpyc.connect("127.0.0.1", server.port)
    same, wait = rpyc.async_(conn.root.same), rpyc.async_(conn.root.wait)
    for _ in range(5):
        results = [same(n) for n in range(500)]
        last = wait(0.2)
        assert [result.value for result in results] == list(range(500))
        last.wait()
    conn.close()
    server.close()
    thread.join()

use()
child = os.fork()
if child == 0:
    use()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done", flush=True)
"""
    )
    assert program.line(40) == "done"
    assert program.wait() == 0


@pytest.mark.parametrize("unix", [False, True])
def test_releases_leave_though_no_request_follows(rig: Rig, service: Service, unix: bool) -> None:
    """Proxies that die one after the other may wait for the next request; the last ones see none."""
    conn = rig.connect(rig.serve(service, unix=unix))
    make = conn.root.make
    for _ in range(5):
        for _ in range(100):
            make()
        eventually(lambda: not service.things)


def test_the_thread_that_sends_late_answers_goes_away(rig: Rig, service: Service) -> None:
    """Python warns of forks in processes with threads: so there is none once the traffic is over."""
    conn = rig.connect(rig.serve(service))
    same = rpyc.async_(conn.root.same)
    same(0).wait()
    before = len(os.listdir("/proc/self/task"))
    for result in [same(n) for n in range(1000)]:
        result.wait()
    eventually(lambda: len(os.listdir("/proc/self/task")) <= before)


# A client that makes as many calls as it is told, and waits for none of them.
CALLER = """
import os, sys, rpyc
address, count = sys.argv[1], int(sys.argv[2])
conn = rpyc.utils.factory.unix_connect(address) if "/" in address else rpyc.connect("127.0.0.1", int(address))
note = rpyc.async_(conn.root.note)
for n in range(count):
    note(n)
{then}
"""


@pytest.mark.parametrize("then", ["input()", "while True: pass"])
@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("count", [1, 8, 9, 30, 3000])
def test_calls_that_nobody_waits_for_leave(
    rig: Rig, service: Service, unix: bool, count: int, then: str
) -> None:
    """The caller never comes back to the connection, and its thread may be busy with something else."""
    server = rig.serve(service, unix=unix)
    rig.program(CALLER.format(then=then), server.port, count)
    assert eventually(lambda: len(service.noted) == count)
    assert service.noted == list(range(count))


@pytest.mark.parametrize(
    "then",
    [
        "conn.close()",
        "del note; del conn; os._exit(0)",
        "conn._channel.close(); os._exit(0)",
        "sys.exit(0)",
        "conn.ping(); os._exit(0)",
        "os._exit(0) if os.fork() else (conn.ping(), os._exit(0))",
        "os.wait() if os.fork() else os._exit(0)",
    ],
)
def test_no_call_is_lost_or_made_twice_at_the_end(rig: Rig, service: Service, then: str) -> None:
    """Whatever the program does next: the calls before it were made.

    Over a Unix socket, where what was written is there: TCP may drop it when its socket is closed with answers unread.
    """
    server = rig.serve(service, unix=True)
    for _ in range(5):
        service.noted.clear()
        program = rig.program(
            "import warnings; warnings.simplefilter('error')" + CALLER.format(then=then), server.port, 500
        )
        assert program.wait() == 0, program.errors()
        assert eventually(lambda: len(service.noted) >= 500)
        assert service.noted == list(range(500))
