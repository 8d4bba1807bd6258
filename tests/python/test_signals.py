"""Ctrl-C: real processes, real signals."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest
from conftest import Rig, eventually

import rpyc

# Each way of being blocked; every program prints "blocked" first, and the monotonic time of its interruption.
BLOCKED = {
    "a synchronous call": "conn.root.wait()",
    "a synchronous call without a limit": "conn._config['sync_request_timeout'] = None; conn.root.wait()",
    "an asynchronous result": "rpyc.async_(conn.root.wait)().wait()",
    "a result's value": "rpyc.async_(conn.root.wait)().value",
    "serving": "for _ in iter(int, 1): conn.serve(30)",
    "serving everything": "conn.serve_all()",
    "a callback of a callback": "conn.root.call(lambda: conn.root.wait())",
}

CLIENT = """
import sys, time, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
conn.ping()
conn.root.prepare()
print("blocked")
try:
    {blocked}
except KeyboardInterrupt:
    print(repr(time.monotonic()))
print("after")
"""


class Service(rpyc.Service):
    """Blocks until the test lets go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.left = threading.Event()

    def exposed_prepare(self) -> None:
        self.entered.clear()

    def exposed_wait(self) -> None:
        self.entered.set()
        assert self.gate.wait(30)
        self.left.set()

    def exposed_call(self, function: Any) -> Any:
        return function()

    def exposed_same(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("name", BLOCKED)
def test_interrupt(rig: Rig, name: str, unix: bool) -> None:
    """KeyboardInterrupt within a tenth of a second is the aim; a second is the bound on a loaded machine.

    `pytest -rP` shows the latencies.
    """
    service = Service()
    server = rig.serve(service, unix=unix)
    text = CLIENT.format(blocked=BLOCKED[name])
    if unix:
        text = text.replace('rpyc.connect("127.0.0.1", int(sys.argv[1]))', "rpyc.utils.factory.unix_connect(sys.argv[1])")
    program = rig.program(text, server.port)
    rig.on_end(service.gate.set)
    assert program.line() == "blocked"
    if "serving" not in name:
        assert service.entered.wait(10)
    settle(program.process.pid)
    sent = time.monotonic()
    program.process.send_signal(signal.SIGINT)
    # CLOCK_MONOTONIC counts the same in every process of the machine: clock_gettime(2).
    latency = float(program.line(5)) - sent
    print(f"{name}: interrupted after {latency * 1000:.1f} ms")
    assert latency < 1
    assert program.line() == "after"
    service.gate.set()
    assert program.wait() == 0
    assert program.errors() == ""


def test_connection_is_usable_after_an_interrupt(rig: Rig) -> None:
    """The late answer of the interrupted call is dropped and the next call works.

    Intended difference: no lock stays behind. 6.0.2 leaves the receive lock taken.
    """
    service = Service()
    server = rig.serve(service)
    program = rig.program(
        """
import sys, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
same, wait = conn.root.same, conn.root.wait
for _ in range(2):
    try:
        wait()
    except KeyboardInterrupt:
        print("interrupted")
    sys.stdin.readline()
    assert same("next") == "next"
print("usable" if "count=0" in repr(conn._recvlock) else conn._recvlock)
conn.close()
""",
        server.port,
    )
    rig.on_end(service.gate.set)
    for _ in range(2):
        assert service.entered.wait(10)
        settle(program.process.pid)
        program.process.send_signal(signal.SIGINT)
        assert program.line() == "interrupted"
        # The gate is closed again before the client goes on: its next call must block, too.
        service.entered.clear()
        service.gate.set()
        assert service.left.wait(10)
        service.left.clear()
        service.gate.clear()
        program.tell()
    assert program.line() == "usable"
    assert program.wait() == 0


def test_interrupt_ends_a_server(rig: Rig) -> None:
    """A server in the foreground ends, quietly, with its clients."""
    program = rig.program(
        """
import rpyc
from rpyc.utils.server import ThreadedServer
server = ThreadedServer(rpyc.SlaveService, hostname="127.0.0.1", port=0)
print(server.port)
server.start()
print("ended", server.active)
"""
    )
    port = int(program.line())
    conn = eventually(lambda: connect_when_up(port))
    rig.on_end(conn.close)
    conn.ping()
    program.process.send_signal(signal.SIGINT)
    # An empty line for the shell's prompt comes first.
    assert [program.line(), program.line()] == ["", "ended False"]
    assert program.wait() == 0
    with pytest.raises(EOFError):
        conn.ping()


def connect_when_up(port: int) -> Any:
    """A connection, or None while nobody listens there yet."""
    try:
        return rpyc.connect("127.0.0.1", port)
    except ConnectionRefusedError:
        return None


def settle(pid: int) -> None:
    """Wait until the process sleeps: then it is inside the blocking call and not on its way into it."""

    def asleep() -> bool:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"

    for _ in range(3):
        eventually(asleep)
        time.sleep(0.01)
