"""One end of a measured connection. It runs under either package: whatever ``import rpyc`` gives.

::

    worker.py server tcp             # prints {"address": "PORT", ...}
    worker.py server unix PATH       # prints {"address": "PATH", ...}
    worker.py client tcp PORT
    worker.py client unix PATH

The client reads one measurement a line, ``WORKLOAD SECONDS``, and answers each with one line
``{"calls": N, "seconds": S}``. Both roles end when their standard input ends, so that none outlives its driver.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from workloads import BY_NAME, MIB, OUTSTANDING, Workload

import rpyc
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import ThreadedServer

Batch = Callable[[int], None]
"""Does a workload the given number of times."""

CLIENT_CONFIG = {"sync_request_timeout": 60}


class Bench(rpyc.Service):  # type: ignore[misc, unused-ignore]  # rpyc 6.0.2 has no types
    """What the clients call."""

    exposed_value = 5

    def exposed_add(self, a: int, b: int) -> int:
        """The smallest useful function."""
        return a + b

    def exposed_echo(self, data: bytes) -> bytes:
        """The bytes, back."""
        return data


def main(role: str, transport: str, address: str = "") -> None:
    """Plays one role until standard input ends."""
    if role == "server":
        serve(transport, address)
    else:
        drive(transport, address)


def serve(transport: str, path: str) -> None:
    """Serves on a free port of the loopback, or on a Unix socket at ``path``."""
    where = {"socket_path": path} if transport == "unix" else {"hostname": "127.0.0.1"}
    server = ThreadedServer(Bench, **where)
    server._start_in_thread()
    say(address=str(server.port), **identity())
    sys.stdin.read()
    server.close()


def drive(transport: str, address: str) -> None:
    """Connects, then measures what standard input asks for."""
    if transport == "unix":
        conn = unix_connect(address, config=CLIENT_CONFIG)
    else:
        conn = rpyc.connect("127.0.0.1", int(address), config=CLIENT_CONFIG)
    say(**identity())
    for line in sys.stdin:
        name, seconds = line.split()
        calls, elapsed = measure(BY_NAME[name], conn, float(seconds))
        say(calls=calls, seconds=elapsed)
    conn.close()


def measure(workload: Workload, conn: Any, span: float) -> tuple[int, float]:
    """Checks the workload's result once, warms up for a tenth of ``span`` seconds, then counts for ``span``.

    Returns the number of calls and the seconds they took.
    """
    batch = BATCHES[workload.name](conn)
    if not workload.payload:
        # The first, checked call of the large echoes has warmed up all there is.
        repeat(batch, span / 10)
    times, elapsed = repeat(batch, span)
    return times * workload.outstanding, elapsed


def repeat(batch: Batch, span: float) -> tuple[int, float]:
    """Runs batches, at first of one and soon of many, until ``span`` seconds have passed."""
    size, times = 1, 0
    start = before = perf_counter()
    while True:
        batch(size)
        times += size
        now = perf_counter()
        if now - start >= span:
            return times, now - start
        if now - before < span / 50:
            # The clock is read seldom enough not to be measured.
            size *= 2
        before = now


def held(conn: Any) -> Batch:
    """Calls of a remote function that the client holds."""
    add = conn.root.add
    require(add(1, 2), 3)

    def batch(times: int) -> None:
        for _ in range(times):
            add(1, 2)

    return batch


def method(conn: Any) -> Batch:
    """Calls of a remote method by its name, as most programs write them."""
    require(conn.root.add(1, 2), 3)

    def batch(times: int) -> None:
        for _ in range(times):
            conn.root.add(1, 2)

    return batch


def attribute(conn: Any) -> Batch:
    """Reads of a remote attribute."""
    require(conn.root.value, 5)

    def batch(times: int) -> None:
        for _ in range(times):
            conn.root.value  # noqa: B018  # the read is the workload

    return batch


def outstanding(conn: Any) -> Batch:
    """Asynchronous calls, many sent before the first result is awaited."""
    add = rpyc.async_(conn.root.add)
    require(sum(result.value for result in [add(1, 2) for _ in range(OUTSTANDING)]), 3 * OUTSTANDING)

    def batch(times: int) -> None:
        for _ in range(times):
            for result in [add(1, 2) for _ in range(OUTSTANDING)]:
                result.wait()

    return batch


def echo(size: int, conn: Any) -> Batch:
    """Large bytes there and back. They are random, so that compressing them cannot pay."""
    data = os.urandom(size)
    remote = conn.root.echo
    if remote(data) != data:
        raise RuntimeError(f"the peer answered other bytes than the {size} it was sent")

    def batch(times: int) -> None:
        for _ in range(times):
            remote(data)

    return batch


BATCHES: dict[str, Callable[[Any], Batch]] = {
    "held": held,
    "method": method,
    "attribute": attribute,
    "async": outstanding,
    "echo1": partial(echo, MIB),
    "echo16": partial(echo, 16 * MIB),
}


def require(result: object, expected: object) -> None:
    """A fast wrong answer is worth nothing."""
    if result != expected:
        raise RuntimeError(f"the peer answered {result!r}, expected {expected!r}")


def identity() -> dict[str, object]:
    """Which package is measured: its version, whether it has a native engine, and the interpreter."""
    return {
        "version": rpyc.__version__,
        "native": "rpyc._rpyc" in sys.modules,
        "python": platform.python_version(),
    }


def say(**fields: object) -> None:
    """One JSON line for the driver."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
