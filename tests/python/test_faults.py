"""What breaks, and how far: killed peers, stale proxies, malformed input, forks, the end of the interpreter."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread

import rpyc
from rpyc.core import brine, consts

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vectors.json").read_text())

# A server that a test can kill. It prints its address and then one line whenever a call has come in to wait.
SERVER = """
import sys, threading, rpyc
from rpyc.utils.server import ThreadedServer
class Service(rpyc.Service):
    def exposed_same(self, value): return value
    def exposed_make(self): return object()
    def exposed_call(self, function): return function()
    def exposed_wait(self):
        print("waiting")
        threading.Event().wait(60)
server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
server._start_in_thread()
print(server.port)
sys.stdin.read()
"""

# An answer that nobody waits for need not be looked at, so what is wrong with this one may go unnoticed.
UNASKED = "reply with an unknown label"

# What ends a connection says why. The words differ from one way of ending to the other.
CAUSE = "(?i)clos|reset|end|eof|gone|broken"


class Service(rpyc.Service):
    """A healthy server, counting its connections."""

    def __init__(self) -> None:
        self.connected = 0
        self.ended = 0

    def on_connect(self, conn: Any) -> None:
        self.connected += 1

    def on_disconnect(self, conn: Any) -> None:
        self.ended += 1

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_size(self, value: Any) -> int:
        return len(value)


# A server logs what ends a connection and raises it again, in the thread of that connection.
SERVER_THREADS_MAY_RAISE = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


# Peers that go


def test_every_waiter_hears_of_a_killed_peer(rig: Rig) -> None:
    """Synchronous calls in several threads and asynchronous results: EOFError at once, though no limit is set."""
    program = rig.program(SERVER)
    conn = rpyc.connect("127.0.0.1", int(program.line()), config={"sync_request_timeout": None})
    rig.on_end(conn.close)
    wait = conn.root.wait
    result = rpyc.async_(wait)()
    waiting = [in_thread(wait) for _ in range(3)] + [in_thread(result.wait)]
    # The server's single thread for this connection is in the first of the calls; the others are under way.
    assert program.line() == "waiting"
    eventually(lambda: len(conn._request_callbacks) >= 4)
    program.process.kill()
    for future in waiting:
        with pytest.raises(EOFError, match=CAUSE):
            future.result(PATIENCE)
    eventually(lambda: conn.closed)
    with pytest.raises(EOFError):
        conn.ping()


def test_a_killed_client_leaves_the_server(rig: Rig) -> None:
    """The server notices, tells its service, and goes on."""
    service = Service()
    server = rig.serve(service)
    program = rig.program(
        """
import sys, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
print(conn.root.same("ready"))
sys.stdin.read()
""",
        server.port,
    )
    assert program.line() == "ready"
    program.process.kill()
    eventually(lambda: service.ended == 1)
    assert rig.connect(server).root.same(1) == 1
    eventually(lambda: len(server.clients) == 1)


def test_peer_dies_in_a_callback(rig: Rig) -> None:
    """The client serves a callback while the caller dies: the callback's answer has nowhere to go."""
    program = rig.program(SERVER)
    conn = rpyc.connect("127.0.0.1", int(program.line()))
    rig.on_end(conn.close)

    def kill() -> str:
        program.process.kill()
        program.wait()
        return "never heard"

    with pytest.raises(EOFError):
        conn.root.call(kill)


def test_stale_proxies(rig: Rig) -> None:
    """Every use of a proxy of a dead connection is an EOFError at once, and dropping it is silent."""
    program = rig.program(SERVER)
    conn = rpyc.connect("127.0.0.1", int(program.line()), config={"sync_request_timeout": None})
    rig.on_end(conn.close)
    kept = [conn.root.make(), conn.root.same]
    program.process.kill()
    program.wait()
    for operation in (str, hash, dir, lambda made: made.attribute, lambda made: made == 1):
        with pytest.raises(EOFError):
            operation(kept[0])
    for call in (kept[1], lambda value: rpyc.async_(kept[1])(value).wait()):
        with pytest.raises(EOFError):
            call(1)
    kept.clear()
    del call
    gc.collect()


# Bad input


def bad_bodies() -> list[Any]:
    """The recorded malformed values, each as the argument of an otherwise proper ping."""
    cases = []
    for entry in VECTORS["brine"]["invalid"]:
        encoded = bytes.fromhex(entry["hex"])
        if entry.get("truncated_hex"):
            encoded = b"\x17\x00\x00\x13\x89" + b"1" * 5001 if encoded[0] == 0x17 else b"\x10" * 5000 + b"\x02"
        cases.append(pytest.param(b"\x01\x11\x50\x11\x51\x11\x51\x10" + encoded, id=entry["note"].replace(" ", "-")))
    for entry in VECTORS["handlers"]["fatal_messages"]:
        if entry["note"] == UNASKED:
            continue
        cases.append(pytest.param(bytes.fromhex(entry["payload_hex"]), id=entry["note"].replace(" ", "-")))
    return cases


@SERVER_THREADS_MAY_RAISE
@pytest.mark.parametrize("payload", bad_bodies())
def test_malformed_messages_end_one_connection(rig: Rig, caplog: pytest.LogCaptureFixture, payload: bytes) -> None:
    """That connection is not answered but ended, with a word in the log; the server and its other clients go on."""
    service = Service()
    server = rig.serve(service, {"sync_request_timeout": 0.2})
    healthy = rig.connect(server)
    assert healthy.root.same(1) == 1
    with caplog.at_level(logging.WARNING):
        peer = rig.raw_client(server)
        assert peer.request(consts.HANDLE_GETROOT)[0] == consts.MSG_REPLY
        peer.send(payload)
        ends_or_asks_to(peer)
        peer.close()
        eventually(lambda: service.ended == 1)
        eventually(lambda: [record for record in caplog.records if record.levelno >= logging.WARNING])
    assert healthy.root.same(2) == 2
    assert rig.connect(server).root.same(3) == 3
    eventually(lambda: len(server.clients) == 2)


def ends_or_asks_to(peer: Any) -> None:
    """The stream ends, after a close request if there is one, and nothing else is sent."""
    answer = peer.receive()
    if answer is not None:
        assert answer[0] == consts.MSG_REQUEST, answer
        assert brine.load(answer[1:])[1] == (consts.HANDLE_CLOSE, (consts.LABEL_VALUE, ()))


BAD_FRAMES = {
    "bad-zlib-data": struct.pack("!LB", 7, 1) + b"garbage\n",
    "cut-header": b"\x00\x00\x00",
    "cut-body": struct.pack("!LB", 100, 0) + b"abc",
    "length-of-4-GiB": struct.pack("!LB", 0xFFFFFFFF, 0) + b"abc",
    "not-the-protocol-at-all": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@SERVER_THREADS_MAY_RAISE
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_malformed_frames_end_one_connection(rig: Rig, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """The same for what does not even make a frame, once the sender has stopped sending. The log says what it was."""
    caplog.set_level(logging.WARNING)
    service = Service()
    server = rig.serve(service, {"sync_request_timeout": 0.2})
    healthy = rig.connect(server)
    assert healthy.root.same(1) == 1
    peer = rig.raw_client(server)
    peer.sock.sendall(BAD_FRAMES[name])
    peer.close()
    eventually(lambda: (service.connected, service.ended) == (2, 1))
    assert healthy.root.same(2) == 2
    # What is no frame at all seems to announce a compressed one, and starts like none.
    refused = name in ("bad-zlib-data", "not-the-protocol-at-all")
    words = "the compressed data is corrupt" if refused else "in the middle of a message"
    eventually(lambda: words in caplog.text)


def test_announced_lengths_cost_nothing(rig: Rig) -> None:
    """Memory is taken as the bytes arrive, not when a header promises them."""
    program = rig.program(SERVER)
    port = int(program.line())
    conn = rpyc.connect("127.0.0.1", port)
    rig.on_end(conn.close)
    conn.ping()
    before = peak_memory(program.process.pid)
    peer = rig.raw_client(type("Address", (), {"port": port})())
    # This is more than a socket buffers, so when it is gone the server is reading the body, or has refused it.
    with contextlib.suppress(ConnectionError):
        peer.sock.sendall(struct.pack("!LB", 0xFFFFFFFE, 0) + b"\0" * (8 << 20))
    counted = rig.raw_client(type("Address", (), {"port": port})())
    counted.sock.sendall(struct.pack("!LB", 1 << 20, 0) + b"\x01\x15\xff\xff\xff\xff")
    conn.ping()
    assert peak_memory(program.process.pid) - before < 200 << 20


def peak_memory(pid: int) -> int:
    """The most memory that a process has had resident so far, in bytes (proc(5), VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_answers_nobody_waits_for(rig: Rig) -> None:
    """Dropped, like empty frames; the connection goes on."""
    peer = rig.raw(Service())
    for payload in (b"\x02" + brine.dump((777, (1, 1))), b"\x03" + brine.dump((777, 1)), b""):
        peer.send(payload)
        assert peer.request(consts.HANDLE_PING, (1, ("p",))) == (consts.MSG_REPLY, (1, "p"))


def test_waiter_hears_of_a_malformed_answer(rig: Rig) -> None:
    """An answer that cannot be read is an error of whoever waits, at once and not after the time limit.

    Sane where 6.0.2 is not: there a serving thread swallows it and the waiter waits for its limit.
    """
    service = Service()
    peer = rig.raw(service, {"sync_request_timeout": 25})
    waiting = in_thread(lambda: peer.conn.root)
    request = peer.receive()
    assert request is not None
    sequence = brine.load(request[1:])[0]
    peer.send(b"\x02" + brine.dump((sequence, (9, 1))))
    with pytest.raises((ValueError, EOFError)):
        waiting.result(PATIENCE)


# Forks and exits


def test_fork(rig: Rig) -> None:
    """A forked child opens a connection of its own; the parent's goes on, before and after the child ends."""
    service = Service()
    server = rig.serve(service)
    program = rig.program(
        """
import os, sys, rpyc
port = int(sys.argv[1])
conn = rpyc.connect("127.0.0.1", port)
kept = conn.root.same
assert kept(1) == 1
child = os.fork()
if child == 0:
    own = rpyc.connect("127.0.0.1", port)
    for n in range(50):
        assert own.root.same(n) == n
    own.close()
    os._exit(7)
for n in range(50):
    assert kept(n) == n
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert kept([]) == []
conn.close()
print("done")
""",
        server.port,
    )
    assert program.line() == "done"
    assert program.wait() == 0
    eventually(lambda: (service.connected, service.ended) == (2, 2))


def test_fork_while_threads_use_the_connection(rig: Rig) -> None:
    """Whatever another thread held at the moment of the fork, the child's own connection works."""
    server = rig.serve(Service())
    program = rig.program(
        """
import os, sys, threading, rpyc
port = int(sys.argv[1])
conn = rpyc.connect("127.0.0.1", port)
same, stop = conn.root.same, threading.Event()
def busy():
    while not stop.is_set():
        same(b"x" * 1000)
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        own = rpyc.connect("127.0.0.1", port)
        os._exit(0 if own.root.same(5) == 5 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in threads:
    thread.join()
assert same(1) == 1
conn.close()
print("done")
""",
        server.port,
    )
    assert program.line(40) == "done"
    assert program.wait() == 0


EXITS = {
    "open-connection": "",
    "proxies": "kept = [conn.root.make() for _ in range(10)]",
    "serving-thread": "import threading; threading.Thread(target=conn.serve_all, daemon=True).start()",
    "background": "background = rpyc.BgServingThread(conn)",
    "waiting-thread": "import threading; threading.Thread(target=conn.root.wait, daemon=True).start()",
    "outstanding": "results = [rpyc.async_(conn.root.same)(n) for n in range(20)]",
    "heartbeat": "rpyc.core._connection.heartbeat.watch(conn, 0.1); conn.ping()",
    "cycle": "conn.me = conn; conn.kept = conn.root.make()",
}


@pytest.mark.parametrize("state", EXITS)
def test_interpreter_exits_in_any_state(rig: Rig, state: str) -> None:
    """The end of the program neither hangs nor prints."""
    server = rig.program(SERVER)
    program = rig.program(
        f"""
import sys, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
conn.ping()
{EXITS[state]}
print("leaving")
""",
        server.line(),
    )
    assert program.line() == "leaving"
    assert program.wait() == 0
    assert program.errors() == ""


def test_interpreter_exits_while_hearts_beat(rig: Rig) -> None:
    """The thread that looks after connections is ended at any point, with its lock taken or not."""
    server = rig.program(SERVER)
    text = """
import sys, time, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
conn.ping()
rpyc.core._connection.heartbeat.watch(conn, 0.001)
time.sleep(float(sys.argv[2]))
"""
    port = server.line()
    programs = [rig.program(text, port, n / 1000) for n in range(24)]
    for program in programs:
        assert program.wait() == 0
        assert program.errors() == ""


@SERVER_THREADS_MAY_RAISE
def test_server_closes_under_its_clients(rig: Rig) -> None:
    """Closing a server ends the connections of its clients: a waiting call hears of it at once."""
    gate = threading.Event()

    class Waiting(Service):
        def exposed_wait(self) -> None:
            gate.wait(20)

    service = Waiting()
    server = rig.serve(service)
    rig.on_end(gate.set)
    clients = [rig.connect(server, sync_request_timeout=None) for _ in range(3)]
    for client in clients:
        client.ping()
    waiting = in_thread(lambda: clients[0].root.wait())
    eventually(lambda: clients[0]._request_callbacks)
    started = time.monotonic()
    server.close()
    with pytest.raises(EOFError):
        waiting.result(PATIENCE)
    gate.set()
    eventually(lambda: service.ended == 3)
    assert time.monotonic() - started < PATIENCE * 2
    for client in clients:
        with pytest.raises(EOFError):
            client.ping()


# A socket may be finalized before the connection that would have closed it.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_descriptors_of_dead_connections_are_closed(rig: Rig) -> None:
    """Fifty connections that end in every way leave no descriptor behind."""
    service = Service()
    server = rig.serve(service)
    before = len(os.listdir("/proc/self/fd"))
    for n in range(50):
        conn = rpyc.connect("127.0.0.1", server.port)
        assert conn.root.same(n) == n
        if n % 3 == 0:
            conn.close()
        elif n % 3 == 1:
            conn._channel.stream.close()
        del conn
    gc.collect()
    eventually(lambda: service.ended == 50)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
