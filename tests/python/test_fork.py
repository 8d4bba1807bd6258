"""A fork copies connections. The parent's go on as if nothing had happened, whatever the child does with its copies."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, sys
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_numbers(self):
        return [1, 2]

server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
server._start_in_thread()
conn = rpyc.connect("127.0.0.1", server.port)
numbers = conn.root.numbers()
pid = os.fork()
if pid == 0:
    {child}
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
print(numbers[0], conn.root.numbers()[1], conn.closed)
conn.close()
server.close()
"""


@pytest.mark.parametrize(
    "child",
    [
        "os._exit(0)",
        "sys.exit(0)",  # with all finalizers
        "del numbers; gc.collect(); sys.exit(0)",
        "del conn, numbers; gc.collect(); os._exit(0)",
        "other = rpyc.connect('127.0.0.1', server.port); assert other.root.numbers()[0] == 1; other.close(); sys.exit(0)",
    ],
)
def test_the_parent_goes_on(child: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM.format(child=child)],
        capture_output=True, text=True, timeout=30, check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 2 False\n", "")
