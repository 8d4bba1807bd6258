"""Servers, connections and processes for the tests of this directory.

Everything is real: real sockets, real threads, real processes. A test asks for the `rig`, builds what it needs with it,
and the rig takes all of it down in the reverse order; then the leak check waits until threads and descriptors are
back at what they were.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

import rpyc
from rpyc.core import brine, consts
from rpyc.core.stream import SocketStream
from rpyc.utils.factory import unix_connect
from rpyc.utils.server import Server, ThreadedServer

if os.environ.get("RPYC_TEST_PYTHON_PATH"):
    # An override of any of the engine's hooks sends a connection down the Python path; this one changes nothing.
    _dispatch = rpyc.Connection._dispatch

    def dispatch(self: Any, data: bytes) -> None:
        _dispatch(self, data)

    rpyc.Connection._dispatch = dispatch  # type: ignore[method-assign]

T = TypeVar("T")

# Long enough for a loaded machine; nothing that works comes near it.
PATIENCE = 10.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test may hang: sixty seconds unless it says otherwise."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


def pytest_collection_finish() -> None:
    """The tests themselves are no garbage: a collection at the end of each need not look through all of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def leak_check() -> Iterator[None]:
    """Threads and descriptors return to the baseline within a bound."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()

    def leftovers() -> list[str]:
        gc.collect()
        alive = [repr(thread) for thread in threading.enumerate() if thread not in threads]
        opened = open_descriptors()
        extra = len(opened) - len(descriptors)
        return alive + ([f"{fd}: {target}" for fd, target in opened.items() if fd not in descriptors] if extra > 0 else [])

    yield
    limit = time.monotonic() + PATIENCE
    while (left := leftovers()) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not left, f"left behind by the test: {left}"


@pytest.fixture
def rig(leak_check: None) -> Iterator[Rig]:
    """Builds servers, connections and processes, and takes them down."""
    with Rig() as built:
        yield built


def eventually(read: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Poll until `read` returns something true, and return that; AssertionError with the last value otherwise."""
    limit = time.monotonic() + seconds
    while not (got := read()):
        assert time.monotonic() < limit, f"still {got!r} after {seconds} s"
        gc.collect()
        time.sleep(0.01)
    return got


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run the functions at the same time, each in a thread; their results in order, or the first one's exception."""
    futures: list[Future[Any]] = [in_thread(function) for function in functions]
    return [future.result(PATIENCE * 2) for future in futures]


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a function in a daemon thread; the future holds what becomes of it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def open_descriptors() -> dict[int, str]:
    """The open descriptors of this process, and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


class Rig:
    """What a test is made of. Everything built here is closed at the end of the test, last first."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def on_end(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function when the test is over."""
        self._ends.callback(function, *args)

    def directory(self) -> Path:
        """A short-lived directory, with a path short enough for Unix sockets."""
        return Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="rpyc-")))

    def serve(
        self, service: Any, config: dict[str, Any] | None = None, *, kind: type[Server] = ThreadedServer, unix: bool = False
    ) -> Server:
        """A listening server in a thread of this process, on loopback or on a Unix socket."""
        where: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0}
        if unix:
            where = {"socket_path": str(self.directory() / "socket")}
        server = kind(service, protocol_config=config if config is not None else {}, **where)
        thread = server._start_in_thread()
        self.on_end(thread.join, PATIENCE)
        self.on_end(server.close)
        return server

    def connect(self, server: Server, service: Any = rpyc.VoidService, **config: Any) -> Any:
        """A connection to a server of `serve`; the keywords are configuration."""
        if isinstance(server.port, str):
            conn = unix_connect(server.port, service, config)
        else:
            conn = rpyc.connect("127.0.0.1", server.port, service, config)
        self.on_end(close_quietly, conn)
        return conn

    def pair(
        self,
        service: Any,
        config: dict[str, Any] | None = None,
        client_service: Any = rpyc.VoidService,
        client_config: dict[str, Any] | None = None,
    ) -> Pair:
        """Two connected ends in this process, over a socket pair; the service's end is served by a thread."""
        mine, theirs = socket.socketpair()
        opened: Future[Any] = Future()

        def serve() -> None:
            try:
                conn = rpyc.connect_stream(SocketStream(theirs), service, config or {})
            except BaseException as error:
                opened.set_exception(error)
                theirs.close()
                raise
            opened.set_result(conn)
            conn.serve_all()

        ended = in_thread(serve)
        client = rpyc.connect_stream(SocketStream(mine), client_service, client_config or {})
        self.on_end(close_quietly, client)
        return Pair(client, opened.result(PATIENCE), ended)

    def tapped(self, service: Any, config: dict[str, Any] | None = None, **client_config: Any) -> Tapped:
        """A connection whose frames pass through this process, where requests are counted on their way."""
        mine, near = socket.socketpair()
        far, theirs = socket.socketpair()
        tapped = Tapped()
        pumps = [
            in_thread(lambda: tapped.pump(near, far, tapped.sent)),
            in_thread(lambda: tapped.pump(far, near, tapped.received)),
        ]
        ended = in_thread(lambda: rpyc.connect_stream(SocketStream(theirs), service, config or {}).serve_all())
        tapped.conn = rpyc.connect_stream(SocketStream(mine), rpyc.VoidService, client_config)
        for future in (*pumps, ended):
            self.on_end(future.result, PATIENCE)
        self.on_end(close_quietly, tapped.conn)
        return tapped

    def raw(self, service: Any, config: dict[str, Any] | None = None, *, thread_ids: bool = False) -> RawPeer:
        """A peer made of bare frames, with a connection of ours at the other end of a socket pair."""
        mine, theirs = socket.socketpair()
        opened: Future[Any] = Future()

        def serve() -> None:
            conn = rpyc.connect_stream(SocketStream(theirs), service, config or {})
            opened.set_result(conn)
            conn.serve_all()

        ended = in_thread(serve)
        peer = RawPeer(mine, opened.result(PATIENCE), ended, thread_ids)
        self.on_end(peer.close)
        return peer

    def raw_client(self, server: Server) -> RawPeer:
        """A peer made of bare frames that talks to a server of `serve`."""
        if isinstance(server.port, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(server.port)
        else:
            sock = socket.create_connection(("127.0.0.1", server.port))
        peer = RawPeer(sock)
        self.on_end(peer.close)
        return peer

    def program(self, text: str, *args: object) -> Program:
        """A Python process that runs the text; its `sys.argv[1:]` are the arguments."""
        return self._ends.enter_context(Program(text, *map(str, args)))


class Pair:
    """The client's connection, the server's connection, and how the serving loop ended (a future)."""

    def __init__(self, client: Any, server: Any, ended: Future[None]) -> None:
        self.client, self.server, self.ended = client, server, ended


class Tapped:
    """A connection, and the handlers of the requests that it sent and received so far, in order."""

    conn: Any

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []

    def count(self, function: Callable[[], Any]) -> int:
        """How many requests a function sends, but for the releases of objects."""
        before = len(self.sent)
        function()
        return sum(handler != consts.HANDLE_DEL for handler in self.sent[before:])

    @staticmethod
    def pump(source: socket.socket, target: socket.socket, requests: list[int]) -> None:
        """Pass frames on, and note the handlers of requests before."""
        with source.makefile("rb") as stream, source, target, contextlib.suppress(OSError):
            while header := stream.read(5):
                body = stream.read(struct.unpack("!LB", header)[0] + 1)
                if body[0] == consts.MSG_REQUEST:
                    requests.append(brine.load(body[1:-1])[1][0])
                target.sendall(header + body)
            target.shutdown(socket.SHUT_WR)
            source.shutdown(socket.SHUT_RD)


class RawPeer:
    """Speaks frames and brine by hand. `payload` is message type and body; sequence numbers count from 0."""

    def __init__(
        self, sock: socket.socket, conn: Any = None, ended: Future[None] | None = None, thread_ids: bool = False
    ) -> None:
        self.sock, self.conn, self.thread_ids = sock, conn, thread_ids
        self._ended = ended
        self._seq = 0
        sock.settimeout(PATIENCE)

    def send(self, payload: bytes) -> None:
        """Send one uncompressed frame."""
        self.sock.sendall(struct.pack("!LB", len(payload), 0) + payload + b"\n")

    def receive(self) -> bytes | None:
        """The payload of the next frame; None at the end of the stream. TimeoutError if neither comes."""
        try:
            length, flag = struct.unpack("!LB", self._exactly(5))
            body = self._exactly(length + 1)[:-1]
        except (EOFError, ConnectionError):
            return None
        return zlib.decompress(body) if flag else body

    def request(self, handler: Any, boxed_args: Any = (1, ())) -> tuple[int, Any]:
        """Send a request and return (message type, body) of its answer; EOFError at the end of the stream."""
        seq, self._seq = self._seq, self._seq + 1
        self.send(b"\x01" + brine.dump((seq, (handler, boxed_args))))
        payload = self.receive()
        if payload is None:
            raise EOFError("the stream ended instead of an answer")
        answered, body = brine.load(payload[1:])
        assert answered == seq, (payload, seq)
        return payload[0], body

    def served(self) -> None:
        """Wait for the end of the serving loop at the other end, and raise what ended it, if anything did."""
        assert self._ended is not None, "the other end is a server's"
        self._ended.result(PATIENCE)

    def close(self) -> None:
        """Hang up, and wait until the other end has noticed."""
        self.sock.close()
        if self._ended is not None:
            with contextlib.suppress(Exception):
                self.served()

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not (piece := self.sock.recv(count - len(data))):
                raise EOFError
            data += piece
        return bytes(data)


class Program:
    """A Python process whose output is read line by line. It is killed at the end of the test."""

    def __init__(self, text: str, *args: str) -> None:
        self._errors = tempfile.TemporaryFile()
        self._output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", text, *args],
            bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        # Waits, and closes both pipes.
        with self.process:
            pass
        self._errors.close()

    def line(self, seconds: float = 20.0) -> str:
        """The next line of its output without the line end; AssertionError with its errors if none comes in time."""
        assert self.process.stdout is not None
        limit = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._output:
                in_time = selector.select(limit - time.monotonic())
                assert in_time, f"no output within {seconds} s; errors so far:\n{self.errors()}"
                piece = self.process.stdout.read(65536)
                assert piece, f"the program ended with code {self.process.wait(5)}:\n{self.errors()}"
                self._output += piece
        line, _, self._output = self._output.partition(b"\n")
        return line.decode()

    def tell(self, line: str = "") -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit code; AssertionError with its errors if it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s; errors so far:\n{self.errors()}") from None

    def errors(self) -> str:
        """What it has written to stderr so far."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode(errors="replace")


def close_quietly(conn: Any) -> None:
    """Close a connection whose other end may be gone."""
    with contextlib.suppress(EOFError, OSError):
        conn.close()
