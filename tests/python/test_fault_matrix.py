"""Every fault at every stage of a connection, seen from both sides, with a real process at the other end.

In each cell: whoever waits learns of it within a bound, by `ConnectionLost` with cause and peer; the service is told
once; no thread, no descriptor (the `rig` sees to that) and no socket file is left. What varies at random (when the fault comes, and what
garbage is) comes from a seed, which a failure shows. RPYC_FAULT_SEED=NUMBER sets it; RPYC_FAULT_ROUNDS repeats the matrix.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Program, Rig, eventually, in_thread

import rpyc

SEED = int(os.environ.get("RPYC_FAULT_SEED", "1"))
ROUNDS = int(os.environ.get("RPYC_FAULT_ROUNDS", "1"))

HEART = 0.4
"""The heartbeat of the observed side, in seconds: the bound for peers that say nothing."""

FAULTS = ("killed", "reset", "half-closed", "stopped", "cut", "garbage")
STAGES = ("handshake", "idle", "waiting", "nested", "transfer", "close")
CAUSES = {
    "killed": {"reset", "peer closed", "cut"},
    "reset": {"reset", "peer closed", "cut"},
    "half-closed": {"peer closed", "cut", "reset"},
    "stopped": {"silent"},
    "cut": {"silent"},
    # Garbage that looks like the start of a long frame is followed by silence.
    "garbage": {"malformed", "silent"},
}
LARGE = 64 << 20
LET_THROUGH = 1 << 20
"""Bytes of a large transfer that pass before its fault."""


@pytest.fixture(scope="module")
def peers() -> Iterator[Program]:
    """The program that forks the peers."""
    with Program((Path(__file__).parent / "fault_peer.py").read_text()) as program:
        yield program


class Proxy:
    """Stands between the observed side and its peer, and does to the connection what networks do."""

    def __init__(self, rig: Rig, seed: random.Random) -> None:
        self._random = seed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.target: int | str = 0
        self.held_up = threading.Event()
        self._hold_after: int | None = None
        self._closing = threading.Event()
        # Told apart by who connects: the side that the fault is for is `observed`.
        self._ends: dict[str, socket.socket] = {}
        self._wake, self._waker = socket.socketpair()
        self._thread = in_thread(self._run)
        rig.on_end(self._stop)
        self.observed = "client"
        self._fault: Callable[[], object] | None = None

    def hold_after(self, count: int) -> None:
        """Pass so many bytes more of what the observed side sends, then nothing; sets `held_up` then."""
        self._hold_after = count

    def do(self, fault: str) -> None:
        """Let the fault happen."""
        self._fault = {"reset": self._reset, "half-closed": self._half_close, "cut": self._cut, "garbage": self._garbage}[fault]
        self._waker.send(b"x")

    def _stop(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            # It may have seen that already.
            self._waker.send(b"x")
        self._thread.result(PATIENCE)

    def _run(self) -> None:
        with contextlib.ExitStack() as closed, selectors.DefaultSelector() as selector:
            for sock in (self._listener, self._wake, self._waker):
                closed.enter_context(sock)
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._closing.is_set():
                for key, _ in selector.select():
                    if key.fileobj is self._wake:
                        self._wake.recv(100)
                    elif key.fileobj is self._listener:
                        self._ends["client"] = closed.enter_context(self._listener.accept()[0])
                        self._ends["server"] = closed.enter_context(connected(self.target))
                        for end in self._ends.values():
                            selector.register(end, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        self._pass_on(selector, key.fileobj)
                if self._fault is not None:
                    fault, self._fault = self._fault, None
                    for end in self._ends.values():
                        with contextlib.suppress(KeyError, ValueError):
                            selector.unregister(end)
                    fault()

    def _pass_on(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        from_observed = sock is self._ends[self.observed]
        other = self._ends["server" if sock is self._ends["client"] else "client"]
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(1 << 16)
        if not data:
            # One of them is gone: so is the connection.
            for end in (sock, other):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(end)
                end.close()
            return
        with contextlib.suppress(OSError):
            other.sendall(data)
        if from_observed and self._hold_after is not None:
            self._hold_after -= len(data)
            if self._hold_after <= 0:
                selector.unregister(sock)
                self.held_up.set()

    def _reset(self) -> None:
        self._mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._mine.close()

    def _half_close(self) -> None:
        self._mine.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        """Both ends stay open, and nothing passes any more."""

    def _garbage(self) -> None:
        with contextlib.suppress(OSError):
            self._mine.sendall(self._random.randbytes(self._random.randrange(64, 4096)))

    @property
    def _mine(self) -> socket.socket:
        return self._ends[self.observed]


class Observed(rpyc.Service):
    """The service of the observed side."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.ended = 0
        self.conn: Future[Any] = Future()

    def on_connect(self, conn: Any) -> None:
        self.conn.set_result(conn)
        if self.stage == "handshake":
            conn.root.wait()

    def on_disconnect(self, conn: Any) -> None:
        self.ended += 1


def cells() -> Iterator[Any]:
    """The matrix."""
    for number in range(ROUNDS):
        for role in ("client", "server"):
            for stage in STAGES:
                for fault in FAULTS:
                    seed = f"{SEED + number}/{role}/{stage}/{fault}"
                    yield pytest.param(role, stage, fault, seed, id=f"{role}-{stage}-{fault}-{SEED + number}")


# A server logs why a connection ended, and raises it in the thread of that connection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("role", "stage", "fault", "seed"), list(cells()))
def test_fault(rig: Rig, peers: Program, role: str, stage: str, fault: str, seed: str) -> None:
    """One cell."""
    chance = random.Random(seed)
    service = Observed(stage)
    config: dict[str, Any] = {"heartbeat": HEART, "sync_request_timeout": None, "close_timeout": 2}
    if stage == "close":
        config["before_closed"] = lambda root: root.wait()
    proxy = Proxy(rig, chance)
    proxy.observed = role
    waiting: list[Future[Any]] = []
    if role == "client":
        peers.tell("serve")
        pid = int(said(peers, "peer"))
        proxy.target = int(said(peers, f"{pid} port"))
        waiting.append(in_thread(lambda: rpyc.connect("127.0.0.1", proxy.port, service, config)))
    else:
        server = rig.serve(service, config, unix=chance.random() < 0.5)
        proxy.target = server.port
        peers.tell(f"connect {proxy.port}")
        pid = int(said(peers, "peer"))
    rig.on_end(kill, pid)
    conn = service.conn.result(PATIENCE)
    rig.on_end(close, conn)
    if role == "client" and stage != "handshake":
        waiting.pop().result(PATIENCE)
    waiting += begin(conn, stage, proxy)
    if stage in ("handshake", "waiting", "nested", "close"):
        said(peers, f"{pid} waiting")
    time.sleep(chance.uniform(0, 0.02))

    started = time.monotonic()
    if fault in ("killed", "stopped"):
        os.kill(pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
    else:
        proxy.do(fault)

    for future in waiting:
        if stage == "close":
            # Closing is done, whatever became of the peer.
            future.result(PATIENCE)
            continue
        with pytest.raises(rpyc.ConnectionLost) as caught:
            future.result(PATIENCE)
        assert caught.value.cause in CAUSES[fault]
        assert caught.value.peer.startswith(("127.0.0.1:", "the peer on"))
        assert caught.value.peer in str(caught.value)
    eventually(lambda: service.ended == 1)
    assert time.monotonic() - started < PATIENCE
    assert conn.closed
    with pytest.raises(rpyc.ConnectionLost):
        conn.ping()
    if role == "server":
        eventually(lambda: not server.clients)
        server.close()
        assert not Path(str(server.port)).exists()
    assert service.ended == 1


def begin(conn: Any, stage: str, proxy: Proxy) -> list[Future[Any]]:
    """Bring the connection to the stage: what waits for it there."""
    if stage == "waiting":
        wait = conn.root.wait
        result = rpyc.async_(wait)()
        return [in_thread(wait), in_thread(wait), in_thread(result.wait)]
    if stage == "nested":
        return [in_thread(lambda: conn.root.call(lambda: conn.root.wait()))]
    if stage == "transfer":
        take = conn.root.take
        data = bytes(LARGE)
        proxy.hold_after(LET_THROUGH)
        future = in_thread(lambda: take(data))
        assert proxy.held_up.wait(PATIENCE)
        return [future]
    if stage == "close":
        return [in_thread(conn.close)]
    return []


def connected(target: int | str) -> socket.socket:
    """A socket that is connected to a port of this machine, or to a path."""
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(target)
    return sock


def said(peers: Program, start: str) -> str:
    """The rest of the next line that starts so; lines of earlier peers are passed over."""
    while not (line := peers.line()).startswith(start):
        pass
    return line[len(start) :]


def kill(pid: int) -> None:
    """End a peer, in whatever state it is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def close(conn: Any) -> None:
    """What is left open by a failed test."""
    with contextlib.suppress(EOFError, OSError):
        conn.close()
