"""A server and a client for RPyC of any age, run under an old one and under ours.

    old_peer.py serve            prints its port, serves until stdin ends
    old_peer.py drive PORT CONFIG   checks a server; prints "done"
"""

from __future__ import annotations

import ast
import sys
import threading
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer


class OldService(rpyc.Service):
    """What the client asks for."""

    def exposed_add(self, a: Any, b: Any) -> Any:
        return a + b

    def exposed_apply(self, func: Any, *args: Any) -> Any:
        return func(*args)

    def exposed_fail(self) -> None:
        raise ValueError("on purpose")

    def exposed_numbers(self) -> Any:
        return [1, 2, 3]

    def exposed_echo(self, value: Any) -> Any:
        return value


def serve() -> None:
    """Serve on a free port until stdin ends."""
    server = ThreadedServer(OldService, hostname="127.0.0.1", port=0)
    thread = threading.Thread(target=server.start)
    thread.daemon = True
    thread.start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.close()
    thread.join(10)


def drive(port: int, config: dict[str, Any]) -> None:
    """Use each kind of message against a server."""
    conn = rpyc.connect("127.0.0.1", port, config=config)
    root = conn.root
    assert root.add(1, 2) == 3
    assert root.apply(lambda a, b: a * b, 6, 7) == 42
    assert root.apply(lambda: root.apply(lambda: root.add("nested ", "calls"))) == "nested calls"
    assert list(root.numbers()) == [1, 2, 3]
    values = (None, True, -1, 10**30, 1.5, "text \u20ac", b"bytes", (1, (2,)), slice(1, 2), frozenset([1]))
    assert root.echo(values) == values
    for size in (2000, 100000):
        assert root.echo(b"x" * size) == b"x" * size
    try:
        root.fail()
    except ValueError as error:
        assert "on purpose" in str(error)
        assert "Remote Traceback" in str(error)
    else:
        raise AssertionError("no exception came")
    results = [rpyc.async_(root.add)(n, 1) for n in range(50)]
    assert [result.value for result in results] == list(range(1, 51))
    conn.ping()
    conn.close()
    assert conn.closed
    print("done")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        drive(int(sys.argv[2]), ast.literal_eval(sys.argv[3]))
