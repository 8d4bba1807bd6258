"""RPyC 6.0.2 as the peer of a server that is configured with `rpyc.STRICT`: what works, and what fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import rpyc
from rpyc.utils.server import ThreadedServer

RIVAL = os.environ.get("RPYC_RIVAL_PYTHON") or str(Path(__file__).resolve().parents[2] / ".venv-rival/bin/python")

CLIENT = """
import sys
import rpyc
assert rpyc.__file__.find("site-packages") > 0, rpyc.__file__
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
root = conn.root
numbers = root.numbers()
assert (list(numbers), len(numbers), numbers[0], 2 in numbers, numbers == numbers) == ([1, 2], 2, 1, True, True)
assert root.add(1, 2) == 3 and root.call(lambda n: n + 1) == 2
assert list(rpyc.buffiter(numbers)) == [1, 2]
with root.context() as entered:
    assert entered.exposed_name == "context"
for show in (repr, str, hash, dir, lambda obj: obj.secret):
    try:
        show(entered)
    except AttributeError as error:
        assert "cannot access" in str(error), error
    else:
        raise AssertionError(show)
try:
    root.fail()
except ValueError as error:
    assert "traceback denied" in str(error), error
conn.close()
print("worked")
"""


class Context:
    exposed_name = "context"
    secret = "secret"

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class Service(rpyc.Service):
    def exposed_numbers(self) -> list[int]:
        return [1, 2]

    def exposed_add(self, a: int, b: int) -> int:
        return a + b

    def exposed_call(self, function: object) -> object:
        return function(1)  # type: ignore[operator]

    def exposed_context(self) -> Context:
        return Context()

    def exposed_fail(self) -> None:
        raise ValueError("text")


def test_a_stock_client_of_a_strict_server() -> None:
    """Methods, callbacks, containers, iteration and `with` work; repr, str, hash and dir are refused."""
    server = ThreadedServer(Service, hostname="127.0.0.1", port=0, protocol_config=dict(rpyc.STRICT))
    thread = server._start_in_thread()
    try:
        done = subprocess.run(
            [RIVAL, "-c", CLIENT, str(server.port)], capture_output=True, text=True, timeout=30, check=False, cwd="/"
        )
        assert (done.returncode, done.stdout) == (0, "worked\n"), done.stderr
    finally:
        server.close()
        thread.join(10)
