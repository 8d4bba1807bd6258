"""One end of ``multiprocessing.managers``: the standard library's remote objects.

::

    managers_end.py server tcp|unix [PATH]      # prints {"address": ...}
    managers_end.py client tcp|unix ADDRESS
"""

from __future__ import annotations

import platform
import sys
import threading
from multiprocessing.managers import BaseManager
from typing import Any

from measuring import MIB, Workload, bulk, obey, repeated, require, say, wait_for_end

KEY = b"bench"


class Bench:
    """What the clients call."""

    def __init__(self) -> None:
        self.array: Any = None

    def add(self, a: int, b: int) -> int:
        """The smallest useful function."""
        return a + b

    def push(self, data: bytes) -> int:
        """The number of bytes."""
        return len(data)

    def echo(self, data: bytes) -> bytes:
        """The bytes, back."""
        return data

    def doubles(self) -> Any:
        """A NumPy array of 16 MiB; managers send results by pickle."""
        if self.array is None:
            import numpy

            self.array = numpy.random.default_rng(7).random(2 * MIB)
        return self.array


class Manager(BaseManager):
    """Gives out the one object."""


def serve(transport: str, path: str) -> None:
    """Serves until standard input ends."""
    bench = Bench()
    Manager.register("bench", callable=lambda: bench)
    server = Manager(address=path if transport == "unix" else ("127.0.0.1", 0), authkey=KEY).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bound: Any = server.address
    address = path if transport == "unix" else f"127.0.0.1:{bound[1]}"
    say(address=address, version=platform.python_version(), python=platform.python_version())
    wait_for_end()


def drive(transport: str, address: str) -> None:
    """Connects, then measures what standard input asks for."""
    Manager.register("bench")
    host, _, port = address.rpartition(":")
    place: Any = address if transport == "unix" else (host, int(port))

    def connect() -> Any:
        manager = Manager(address=place, authkey=KEY)
        manager.connect()
        return manager.bench()  # type: ignore[attr-defined]

    proxy = connect()
    require(proxy.add(1, 2), 3)
    say(version=platform.python_version(), python=platform.python_version())
    add = proxy.add
    obey(
        {
            "held": lambda: Workload(repeated(lambda: add(1, 2))),
            "method": lambda: Workload(repeated(lambda: proxy.add(1, 2))),
            "connect": lambda: Workload(repeated(lambda: require(connect().add(1, 2), 3))),
            "numpy16": lambda: receiving(proxy.doubles),
            **bulk(proxy.push, proxy.echo),
        }
    )


def receiving(doubles: Any) -> Workload:
    """The array; the first call makes it."""
    require(doubles().nbytes, 16 * MIB)
    return Workload(repeated(doubles), long=True)


if __name__ == "__main__":
    (serve if sys.argv[1] == "server" else drive)(sys.argv[2], (*sys.argv, "")[3])
