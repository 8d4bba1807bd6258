"""Waits that poll before they sleep: nothing but speed tells them from waits that only sleep."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE, Rig

import rpyc
from rpyc.core.stream import SocketStream

LONGEST = 0.001
"""The longest budget there is, in seconds: so that what happens meanwhile happens during a poll."""


class Service(rpyc.Service):
    """Answers at once, or when it is let."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.gate = threading.Event()

    def exposed_same(self, obj: Any) -> Any:
        return obj

    def exposed_wait(self) -> bool:
        self.entered.set()
        return self.gate.wait(PATIENCE)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.gate.set()


def warm_up(conn: Any) -> None:
    """Short waits in a row: from then on both ends poll, if the machine lets them."""
    same = conn.root.same
    for n in range(300):
        assert same(n) == n


@pytest.fixture(params=["free", "one core"])
def placement(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where this thread and those that it starts may run. On one core a poll gives it away before each look."""
    allowed = os.sched_getaffinity(0)
    if request.param == "one core":
        os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("placement")
@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("budget", [0, LONGEST, 10])
def test_answers_are_the_same(rig: Rig, service: Service, unix: bool, budget: float) -> None:
    """With any budget, a huge one included, which counts as the longest."""
    config = {"busy_poll": budget}
    conn = rig.connect(rig.serve(service, config, unix=unix), **config)
    warm_up(conn)
    for size in (100_000, 1, 3_000_000, 0):
        assert conn.root.same(b"x" * size) == b"x" * size


@pytest.mark.usefixtures("placement")
def test_an_idle_connection_costs_nothing(rig: Rig, service: Service) -> None:
    """Both ends of it wait in this process. Each looks in vain once, and sleeps then."""
    config = {"busy_poll": LONGEST}
    conn = rig.connect(rig.serve(service, config), **config)
    warm_up(conn)
    conn.root.same(1)
    before = time.process_time()
    conn.serve(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.usefixtures("placement")
def test_a_wait_ends_in_time(rig: Rig, service: Service) -> None:
    """A timeout shorter than the budget holds, too."""
    config = {"busy_poll": LONGEST}
    conn = rig.connect(rig.serve(service, config), **config)
    warm_up(conn)
    wait = conn.root.wait
    str(wait)  # fetched now: the server will be busy
    for timeout in (LONGEST / 10, 0.1):
        with pytest.raises(TimeoutError):
            rpyc.timed(wait, timeout)().wait()
    assert not conn.serve(LONGEST / 10)
    service.gate.set()
    assert conn.root.same(1) == 1


@pytest.mark.usefixtures("placement")
def test_a_signal_interrupts_a_poll(rig: Rig, service: Service) -> None:
    """Ctrl-C, say: the call is given up and the connection goes on."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    config = {"busy_poll": LONGEST}
    conn = rig.connect(rig.serve(service, config), **config)
    previous = signal.signal(signal.SIGUSR1, interrupt)
    rig.on_end(signal.signal, signal.SIGUSR1, previous)
    main = threading.get_ident()

    def send() -> None:
        assert service.entered.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGUSR1)

    wait = conn.root.wait
    for _ in range(3):
        warm_up(conn)
        service.entered.clear()
        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(Interrupted):
            wait()
        sender.join(PATIENCE)
        service.gate.set()
        assert conn.root.same(1) == 1
        service.gate.clear()


@pytest.mark.parametrize("budget", [-1.0, float("nan"), float("inf")])
def test_a_budget_that_is_no_time_is_refused(rig: Rig, budget: float) -> None:
    """The error names the key."""
    for end in socket.socketpair():
        stream = SocketStream(end)
        rig.on_end(stream.close)
        with pytest.raises(ValueError, match="busy_poll"):
            rpyc.connect_stream(stream, config={"busy_poll": budget})
