"""Huge values: what they cost, and what happens if there is no memory for them."""

from __future__ import annotations

from conftest import Rig

LIMITED = """
import resource, sys, rpyc
from rpyc.utils.server import ThreadedServer

MIB = 1024 * 1024

def limit(room):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))

class Service(rpyc.Service):
    def exposed_size(self, data): return len(data)
    def exposed_make(self, size): return bytes(size)
    def exposed_limit(self, room): limit(room)
"""
"""Lets a process limit its memory to what it uses now, and some more bytes."""

SERVER = (
    LIMITED
    + """
server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
server._start_in_thread()
print(server.port, flush=True)
sys.stdin.read()
"""
)


def test_a_request_without_memory_is_answered_by_an_exception(rig: Rig) -> None:
    """The server has no memory for the argument: the caller gets MemoryError, and the connection goes on."""
    server = rig.program(SERVER)
    client = rig.program(
        LIMITED
        + """
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
size = conn.root.size
assert size(bytes(MIB)) == MIB
conn.root.limit(160 * MIB)
for value in (bytes(300 * MIB), "x" * (300 * MIB), (b"a" * 40_000, bytes(300 * MIB), b"b" * 40_000)):
    try:
        size(value)
        print("no error")
    except MemoryError:
        pass
    assert size(bytes(MIB)) == MIB
conn.close()
print("done")
""",
        server.line(),
    )
    assert client.line(60) == "done"
    assert client.wait() == 0


def test_an_answer_without_memory_is_an_exception(rig: Rig) -> None:
    """The caller has no memory for the result: the call raises MemoryError, and the connection goes on."""
    server = rig.program(SERVER)
    client = rig.program(
        LIMITED
        + """
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
make = conn.root.make
assert make(MIB) == bytes(MIB)
limit(160 * MIB)
later = rpyc.async_(make)(300 * MIB)
try:
    make(300 * MIB)
    print("no error")
except MemoryError:
    pass
assert later.error
assert make(MIB) == bytes(MIB)
conn.close()
print("done")
""",
        server.line(),
    )
    assert client.line(60) == "done"
    assert client.wait() == 0
