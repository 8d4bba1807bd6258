"""One end of an RPyC connection, under either package: whatever ``import rpyc`` gives.

::

    rpyc_end.py server tcp [HOST] [--server POOL_OR_THREADED]   # prints {"address": "HOST:PORT", ...}
    rpyc_end.py server unix PATH                                # prints {"address": "PATH", ...}
    rpyc_end.py client tcp HOST:PORT [--config JSON]
    rpyc_end.py client unix PATH
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from measuring import (
    MIB,
    Answer,
    Missing,
    Workload,
    bulk,
    compressible,
    obey,
    repeated,
    require,
    say,
    wait_for_end,
)
from threads import Threads

import rpyc
from rpyc.core.consts import HANDLE_CALLATTR
from rpyc.core.netref import syncreq
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import ThreadedServer, ThreadPoolServer

ITEMS = 1000
"""Items of the remote list."""

INSTANCES = 200
"""Instances of one class in one answer."""

BATCH = 5000
"""Calls in one batch."""


class Thing:
    """A class of the server's own, so it goes by reference."""

    def __init__(self, number: int) -> None:
        self.exposed_number = number


class Bench(rpyc.Service):  # type: ignore[misc, unused-ignore]  # rpyc 6.0.2 has no types
    """What the clients call."""

    exposed_value = 5

    def __init__(self) -> None:
        super().__init__()
        self.exposed_numbers = list(range(ITEMS))
        self.things = tuple(Thing(number) for number in range(INSTANCES))
        self.array: Any = None

    def exposed_add(self, a: int, b: int) -> int:
        """The smallest useful function."""
        return a + b

    def exposed_push(self, data: bytes) -> int:
        """The number of bytes."""
        return len(data)

    def exposed_echo(self, data: bytes) -> bytes:
        """The bytes, back."""
        return data

    def exposed_instances(self) -> tuple[Thing, ...]:
        """Objects by reference."""
        return self.things

    def exposed_doubles(self) -> Any:
        """A NumPy array of 16 MiB, by reference."""
        if self.array is None:
            import numpy

            self.array = numpy.random.default_rng(7).random(2 * MIB)
        return self.array


def main() -> None:
    """Plays one role until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("transport", choices=("tcp", "unix"))
    parser.add_argument("address", nargs="?", default="127.0.0.1")
    parser.add_argument("--server", choices=("threaded", "pool"), default="threaded")
    parser.add_argument("--config", type=json.loads, default={})
    options = parser.parse_args()
    config = {"sync_request_timeout": 60, "allow_pickle": True} | options.config
    if options.role == "server":
        serve(options.transport, options.address, options.server, config)
    else:
        drive(options.transport, options.address, config)


def serve(transport: str, address: str, kind: str, config: dict[str, Any]) -> None:
    """Serves on a free port of the host, or on a Unix socket at the path."""
    where = {"socket_path": address} if transport == "unix" else {"hostname": address}
    if kind == "pool":
        server: Any = ThreadPoolServer(Bench(), protocol_config=config, backlog=1024, **where)
    else:
        server = ThreadedServer(Bench(), protocol_config=config, backlog=1024, **where)
    server._start_in_thread()
    say(address=address if transport == "unix" else f"{address}:{server.port}", **identity())
    wait_for_end()
    server.close()


def drive(transport: str, address: str, config: dict[str, Any]) -> None:
    """Connects, then measures what standard input asks for."""
    unknown = config.keys() - rpyc.core.protocol.DEFAULT_CONFIG.keys()
    connect: Callable[[], Any]
    if transport == "unix":
        connect = partial(unix_connect, address, config=config)
    else:
        host, port = address.rsplit(":", 1)
        connect = partial(rpyc.connect, host, int(port), config=config)
    conn = connect()
    say(**identity(), unknown_config=sorted(unknown))
    obey(makers(conn, connect))
    conn.close()


def makers(conn: Any, connect: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    """Everything that can be measured on a connection."""
    root = conn.root
    return {
        "held": lambda: calling(root.add),
        "method": lambda: Workload(repeated(lambda: conn.root.add(1, 2))),
        "attribute": lambda: Workload(repeated(lambda: conn.root.value)),
        "bare held": lambda: bare(conn, partial(root.add, 1, 2)),
        "bare method": lambda: bare(conn, partial(syncreq, root, HANDLE_CALLATTR, "add", (1, 2), ())),
        "async300": lambda: outstanding(conn, 300),
        "async5000": lambda: outstanding(conn, 5000),
        "batch": lambda: batched(conn),
        "connect": lambda: connecting(connect),
        "idle": lambda: Idle(connect),
        "iterate": lambda: iterating(root.numbers),
        "list": lambda: listing(root.numbers),
        "instances": lambda: receiving(root.instances),
        "first instances": lambda: keeping(root.instances),
        "numpy16": lambda: obtaining(root.doubles()),
        "text16": lambda: Workload(repeated(partial(root.push, compressible(16 * MIB))), long=True),
        "threads1": lambda: Threads(root.add, 1),
        "threads4": lambda: Threads(root.add, 4),
        "threads16": lambda: Threads(root.add, 16),
        "background": lambda: Beside(conn, root.add),
        **bulk(root.push, root.echo),
    }


def calling(add: Any) -> Workload:
    """Calls of a remote function that the client holds."""
    require(add(1, 2), 3)
    return Workload(repeated(lambda: add(1, 2)))


def bare(conn: Any, call: Callable[[], int]) -> Workload:
    """The frame of a call, past the package: sent and answered over its socket, what the server alone makes of it.

    RPyC itself never sends the one frame that calls a method, but its servers know it.
    """
    if "rpyc._rpyc" in sys.modules:
        raise Missing("nothing of the kind")
    stream = conn._channel.stream
    kind, write = type(stream), type(stream).write
    sent: list[bytes] = []

    def watch(self: Any, data: bytes) -> None:
        sent.append(bytes(data))
        write(self, data)

    kind.write = watch
    try:
        require(call(), 3)
    finally:
        kind.write = write
    (frame,) = sent
    sock = stream.sock

    def once(_held: object = call) -> None:
        # What the frame names is released with the last proxy of it, so the call is kept.
        sock.sendall(frame)
        sock.recv(256)

    return Workload(repeated(once))


def outstanding(conn: Any, count: int) -> Workload:
    """Asynchronous calls, all sent before the first result is awaited."""
    add = rpyc.async_(conn.root.add)
    require(sum(result.value for result in [add(1, 2) for _ in range(10)]), 30)

    def once() -> None:
        for result in [add(1, 2) for _ in range(count)]:
            result.wait()

    return Workload(repeated(once), calls=count, long=True)


def batched(conn: Any) -> Workload:
    """Calls that go out together and come back together."""
    if not hasattr(conn, "batch"):
        raise Missing("the package has no batches")
    add = conn.root.add

    def once() -> Any:
        with conn.batch() as batch:
            results = [batch(add, 1, 2) for _ in range(BATCH)]
        return sum(result.value for result in results)

    require(once(), 3 * BATCH)
    return Workload(repeated(once), calls=BATCH, long=True)


def connecting(connect: Callable[[], Any]) -> Workload:
    """Connect, call, close."""

    def once() -> None:
        conn = connect()
        require(conn.root.add(1, 2), 3)
        conn.close()

    return Workload(repeated(once))


class Idle:
    """Connections that have called once and stay."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self.connect = connect
        self.kept: list[Any] = []

    def times(self, count: int) -> Answer:
        """Adds ``count`` connections to those that stay."""
        for _ in range(count):
            conn = self.connect()
            require(conn.root.add(1, 2), 3)
            self.kept.append(conn)
        return {"calls": count, "seconds": 0.0}


class Beside:
    """A thread that calls while another one serves in the background."""

    def __init__(self, conn: Any, add: Any) -> None:
        self.conn = conn
        self.thread = Threads(add, 1)

    def for_seconds(self, span: float) -> Answer:
        """As one thread alone."""
        background = rpyc.BgServingThread(self.conn)
        try:
            return self.thread.for_seconds(span)
        finally:
            background.stop()


def iterating(numbers: Any) -> Workload:
    """A remote list, item by item."""

    def once() -> None:
        total = 0
        for number in numbers:
            total += number
        require(total, sum(range(ITEMS)))

    once()
    return Workload(repeated(once))


def listing(numbers: Any) -> Workload:
    """A remote list, made a list here."""
    expected = list(range(ITEMS))
    require(list(numbers), expected)
    return Workload(repeated(lambda: list(numbers)))


def receiving(instances: Any) -> Workload:
    """Many objects of one class in one answer."""
    require(len(instances()), INSTANCES)
    return Workload(repeated(instances))


def keeping(instances: Any) -> Workload:
    """The same unchecked, and nothing released."""
    kept: list[Any] = []
    return Workload(repeated(lambda: kept.append(instances())))


def obtaining(array: Any) -> Workload:
    """A copy of a remote NumPy array."""
    if importlib.util.find_spec("numpy") is None:
        raise Missing("NumPy is not installed")
    copy = rpyc.utils.classic.obtain(array)
    require((type(copy).__name__, copy.nbytes), ("ndarray", 16 * MIB))
    return Workload(repeated(lambda: rpyc.utils.classic.obtain(array)), long=True)


def identity() -> dict[str, object]:
    """Which package is measured: its version, whether it has a native engine, and the interpreter."""
    return {
        "version": rpyc.__version__,
        "native": "rpyc._rpyc" in sys.modules,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
