"""One end of Pyro5, with one of its serializers.

::

    pyro_end.py server tcp|unix [PATH]                      # prints {"address": URI}
    pyro_end.py client tcp|unix URI serpent|msgpack
"""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable
from typing import Any

import Pyro5
import Pyro5.api
import serpent
from measuring import Workload, bulk, obey, repeated, require, say, wait_for_end

BATCH = 5000
"""Calls in one batch."""


@Pyro5.api.expose
class Bench:
    """What the clients call."""

    value = property(lambda self: 5)

    def add(self, a: int, b: int) -> int:
        """The smallest useful function."""
        return a + b

    def push(self, data: Any) -> int:
        """The number of bytes."""
        return len(serpent.tobytes(data))

    def echo(self, data: Any) -> Any:
        """The bytes, back. Serpent carries them as base64 in a dictionary, which is undone at either end."""
        return serpent.tobytes(data)


def serve(transport: str, path: str) -> None:
    """Serves until standard input ends."""
    daemon = Pyro5.api.Daemon(unixsocket=path) if transport == "unix" else Pyro5.api.Daemon(host="127.0.0.1", port=0)
    uri = daemon.register(Bench(), "bench")
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    say(address=str(uri), version=Pyro5.__version__, python=platform.python_version())
    wait_for_end()


def drive(_transport: str, uri: str, serializer: str) -> None:
    """Connects, then measures what standard input asks for."""
    Pyro5.api.config.SERIALIZER = serializer
    proxy = Pyro5.api.Proxy(uri)
    require(proxy.add(1, 2), 3)
    say(version=Pyro5.__version__, python=platform.python_version())
    add = proxy.add
    makers: dict[str, Callable[[], Any]] = {
        "held": lambda: Workload(repeated(lambda: add(1, 2))),
        "method": lambda: Workload(repeated(lambda: proxy.add(1, 2))),
        "attribute": lambda: Workload(repeated(lambda: proxy.value)),
        "batch": lambda: batched(proxy),
        "connect": lambda: connecting(uri),
    }
    # Serpent writes bytes as base64 into source text and parses that: of large ones it is only a test of patience.
    sizes = (1, 16) if serializer == "msgpack" else (1,)
    obey({**makers, **bulk(proxy.push, lambda data: serpent.tobytes(proxy.echo(data)), sizes)})


def batched(proxy: Any) -> Workload:
    """Calls that go out together and come back together."""

    def once() -> int:
        batch = Pyro5.api.BatchProxy(proxy)
        for _ in range(BATCH):
            batch.add(1, 2)
        return sum(batch())

    require(once(), 3 * BATCH)
    return Workload(repeated(once), calls=BATCH, long=True)


def connecting(uri: str) -> Workload:
    """Connect, call, close."""

    def once() -> None:
        with Pyro5.api.Proxy(uri) as proxy:
            require(proxy.add(1, 2), 3)

    return Workload(repeated(once))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(sys.argv[2], (*sys.argv, "")[3])
    else:
        drive(sys.argv[2], sys.argv[3], sys.argv[4])
