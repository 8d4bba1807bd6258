"""Streams that are driven through their methods."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpyc.core.stream import (
    ClosedFile,
    NamedPipeStream,
    PipeStream,
    SocketStream,
    Stream,
    TunneledSocketStream,
    Win32PipeStream,
)
from rpyc.lib import Timeout

Pair = tuple[Any, Any]


def socket_pair() -> Pair:
    left, right = socket.socketpair()
    return SocketStream(left), SocketStream(right)


def nonblocking_pair() -> Pair:
    left, right = socket_pair()
    left.sock.setblocking(False)
    right.sock.setblocking(False)
    return left, right


def impatient_pair() -> Pair:
    left, right = socket_pair()
    left.sock.settimeout(0.01)
    right.sock.settimeout(0.01)
    return left, right


def nonblocking_pipes() -> Pair:
    left, right = PipeStream.create_pair()
    for file in (left.incoming, left.outgoing, right.incoming, right.outgoing):
        os.set_blocking(file.fileno(), False)
    return left, right


@pytest.fixture(
    params=[
        socket_pair,
        nonblocking_pair,
        impatient_pair,
        PipeStream.create_pair,
        nonblocking_pipes,
    ],
    ids=lambda make: make.__name__,
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    left, right = request.param()
    yield left, right
    left.close()
    right.close()


def in_thread(func: Callable[[], object]) -> Callable[[], object]:
    """Run a function in a thread; returns a function that waits for its result or error."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(func())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> object:
        thread.join(30)
        assert not thread.is_alive(), "the thread is still blocked"
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    return wait


def test_write_read_and_poll(pair: Pair) -> None:
    left, right = pair
    assert not right.poll(0) and not right.poll(Timeout(0.001))
    left.write(b"hello")
    assert right.poll(None) and right.poll(10) and right.poll(Timeout(10))
    assert right.read(0) == b""
    assert right.read(2) == b"he" and right.read(3) == b"llo"
    assert not right.poll(0)
    assert right.fileno() >= 0 and not right.closed


def test_more_than_the_buffers_hold(pair: Pair) -> None:
    left, right = pair
    data = os.urandom(3_000_001)
    wait = in_thread(lambda: left.write(data))
    assert right.read(len(data)) == data
    wait()
    left.write(b"")
    left.write(b"after")
    assert right.read(5) == b"after"


def test_a_reader_waits_beyond_the_sockets_time_out() -> None:
    left, right = impatient_pair()
    with left, right:
        wait = in_thread(lambda: right.read(6))
        for byte in (b"a", b"b", b"c"):
            assert not left.poll(0.03)
            left.write(byte * 2)
        assert wait() == b"aabbcc"


def test_a_writer_waits_beyond_the_sockets_time_out() -> None:
    left, right = impatient_pair()
    with left, right:
        data = bytes(5_000_000)
        wait = in_thread(lambda: left.write(data))
        # Far more than the time-out passes before anybody reads.
        assert not left.poll(0.1)
        assert right.read(len(data)) == data
        wait()


def test_end_of_stream(pair: Pair) -> None:
    left, right = pair
    left.write(b"ab")
    left.close()
    assert left.closed
    assert right.poll(10)
    with pytest.raises(EOFError, match="connection closed by peer"):
        right.read(3)
    assert right.closed
    assert_closed(right)


def assert_closed(stream: Any) -> None:
    for use in (
        lambda: stream.read(1),
        lambda: stream.write(b"x"),
        lambda: stream.poll(0),
        lambda: stream.fileno(),
    ):
        with pytest.raises(EOFError, match="stream has been closed"):
            use()
    stream.close()
    assert stream.closed


def test_writing_to_a_closed_peer_closes(pair: Pair) -> None:
    left, right = pair
    right.close()
    with pytest.raises(EOFError):
        for _ in range(3):
            left.write(b"x")
    assert_closed(left)


def test_context_manager_closes(pair: Pair) -> None:
    left, _ = pair
    with left as same:
        assert same is left
    assert_closed(left)


@pytest.mark.parametrize("make", [socket_pair, impatient_pair])
def test_closing_wakes_a_blocked_reader(make: Callable[[], Pair]) -> None:
    left, right = make()
    with right:
        wait = in_thread(lambda: left.read(1))
        left.close()
        with pytest.raises(EOFError):
            wait()


def test_a_descriptor_closed_from_outside() -> None:
    left, right = socket_pair()
    with right:
        left.sock.close()
        assert left.fileno() == -1
        with pytest.raises(OSError, match="negative"):
            left.poll(0)
        with pytest.raises(EOFError, match="Bad file descriptor"):
            left.read(1)
        assert left.closed


class ScriptedSocket:
    """A socket whose operations take their outcomes from a list."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.sent: list[bytes] = []
        self.closed = False
        # Something to wait on that is always ready.
        self.reader, self.writer = socket.socketpair()

    def recv(self, count: int) -> bytes:
        outcome = self.script.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        assert len(outcome) <= count
        return bytes(outcome)

    def send(self, data: bytes) -> int:
        assert isinstance(data, bytes)
        outcome = self.script.pop(0) if self.script else len(data)
        if isinstance(outcome, BaseException):
            raise outcome
        self.sent.append(data[:outcome])
        return min(int(outcome), len(data))

    def fileno(self) -> int:
        return self.writer.fileno()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        self.closed = True


def test_a_socket_that_only_looks_like_one() -> None:
    sock = ScriptedSocket(b"ab", TimeoutError("timed out"), b"c")
    stream = SocketStream(sock)
    assert stream.read(3) == b"abc"
    sock.script = [2, TimeoutError("timed out"), BlockingIOError(errno.EAGAIN, "again"), 1]
    stream.write(b"abcde")
    assert sock.sent == [b"ab", b"c", b"de"]
    stream.close()
    assert sock.closed and stream.sock is ClosedFile


def test_tls_reads_that_have_to_write_and_the_converse() -> None:
    import ssl

    sock = ScriptedSocket(ssl.SSLWantWriteError(), b"a")
    stream = SocketStream(sock)
    assert stream.read(1) == b"a"
    sock.reader.send(b"ready to be read")
    sock.script = [ssl.SSLWantReadError(), 1]
    stream.write(b"x")
    assert sock.sent == [b"x"]
    stream.close()


def test_a_tls_read_without_a_limit_that_has_to_write_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for no time at all, again and again."""
    import ssl

    waits: list[tuple[str, float | None]] = []
    monkeypatch.setattr(
        "rpyc.core.stream.wait_for", lambda _, mode, seconds: waits.append((mode, seconds))
    )
    for limit in (None, 0.5, 100):
        sock = ScriptedSocket(ssl.SSLWantWriteError(), b"a")
        sock.reader.send(b"ready to be read")
        stream = SocketStream(sock)
        assert stream._read_some(1, Timeout(limit)) == b"a"
        stream.close()
    assert [mode for mode, _ in waits] == ["w"] * 3
    assert waits[0][1] == waits[2][1] == 1.0 and 0 < (waits[1][1] or 0) <= 0.5


def test_tcp_giving_up_is_no_time_out_of_the_socket() -> None:
    stream = SocketStream(ScriptedSocket(TimeoutError(errno.ETIMEDOUT, "Connection timed out")))
    with pytest.raises(EOFError, match="Connection timed out"):
        stream.read(1)
    assert stream.closed


def test_writes_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SocketStream, "MAX_IO_CHUNK", 4)
    sock = ScriptedSocket()
    stream = SocketStream(sock)
    stream.write(b"abcdefghij")
    assert sock.sent == [b"abcd", b"efgh", b"ij"]
    stream.close()


def test_poll_sees_bytes_that_the_socket_holds_back() -> None:
    left, right = socket.socketpair()

    class Decrypting:
        held = 3

        def pending(self) -> int:
            return self.held

        def __getattr__(self, name: str) -> Any:
            return getattr(left, name)

    stream = SocketStream(Decrypting())
    assert stream.poll(0)
    Decrypting.held = 0
    assert not stream.poll(0)
    stream.close()
    right.close()


def test_closing_lets_the_engine_go_first() -> None:
    order: list[str] = []

    class EngineIO:
        def close(self) -> None:
            order.append("closed" if stream.closed else "open")

    for stream, other in (socket_pair(), PipeStream.create_pair()):
        assert stream._engine_io is None
        stream._engine_io = EngineIO()
        stream.close()
        other.close()
    assert order == ["open", "open"]


def test_a_subclass_may_have_its_own_constructor() -> None:
    left, right = socket.socketpair()

    class Own(SocketStream):
        def __init__(self) -> None:
            self.sock = left

    stream = Own()
    right.send(b"x")
    assert stream.read(1) == b"x"
    stream.close()
    right.close()


def test_the_closed_file() -> None:
    assert ClosedFile.closed
    ClosedFile.close()
    with pytest.raises(EOFError, match="stream has been closed"):
        ClosedFile.shutdown
    with pytest.raises(EOFError):
        ClosedFile.fileno()
    assert not hasattr(ClosedFile, "__len__")


def test_the_base_class_is_abstract() -> None:
    stream = Stream()
    for use in (
        lambda: stream.read(1),
        lambda: stream.write(b""),
        lambda: stream.close(),
        lambda: stream.closed,
        lambda: stream.fileno(),
    ):
        with pytest.raises(NotImplementedError, match="^Stream is a stream that does not define (close|closed|fileno|read|write)$"):
            use()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def options(stream: Any) -> tuple[int, ...]:
    wanted = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )
    return tuple(stream.sock.getsockopt(*option) for option in wanted)


def test_connect_over_tcp(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    with SocketStream.connect(host, port) as stream:
        accepted, _ = listener.accept()
        with SocketStream(accepted) as server:
            stream.write(b"ping")
            assert server.read(4) == b"ping"
        assert stream.sock.gettimeout() == 3
        assert options(stream)[0] == 0
        assert stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    with SocketStream.connect(host, str(port), timeout=None, nodelay=True) as stream:
        assert stream.sock.gettimeout() is None
        assert stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="the options have these names on Linux")
@pytest.mark.parametrize(("keepalive", "seconds"), [(True, 60), (1, 1), (30, 30)])
def test_keepalive(listener: socket.socket, keepalive: Any, seconds: int) -> None:
    with SocketStream.connect(*listener.getsockname(), keepalive=keepalive) as stream:
        assert options(stream) == (1, seconds, seconds, 5)


def test_connect_looks_names_up_and_no_addresses(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    look_up = socket.getaddrinfo

    def note(host: Any, *args: Any) -> Any:
        asked.append(host)
        return look_up(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    port = listener.getsockname()[1]
    for host, service in (("127.0.0.1", port), ("localhost", port), ("127.0.0.1", str(port))):
        stream = SocketStream.connect(host, service)
        assert stream.sock.getpeername() == ("127.0.0.1", port)
        stream.close()
    assert asked == ["localhost", "127.0.0.1"]


def test_connect_errors(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    for bad in (0.5, -1):
        with pytest.raises(ValueError, match="minimal value"):
            SocketStream.connect(host, port, keepalive=bad)
    with pytest.raises(TypeError):
        SocketStream.connect(host, port, no_such_option=1)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        SocketStream.connect(host, port)


def test_connect_goes_through_the_overridable_step(listener: socket.socket) -> None:
    calls: list[Any] = []

    class Custom(SocketStream):
        @classmethod
        def _connect(cls, host: str, port: Any, **kwargs: Any) -> socket.socket:  # type: ignore[override]
            calls.append((host, kwargs))
            return super()._connect(host, port)

    with Custom.connect("127.0.0.1", listener.getsockname()[1], ipv6=True) as stream:
        assert type(stream) is Custom
    assert calls == [("127.0.0.1", {"family": socket.AF_INET6})]


def test_connect_over_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s")
        with pytest.raises(FileNotFoundError):
            SocketStream.unix_connect(path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            sock.listen()
            with SocketStream.unix_connect(path) as stream:
                assert stream.sock.gettimeout() == 3
                assert stream.sock.getpeername() == path


def test_tls_settings_are_taken_out(listener: socket.socket) -> None:
    import ssl

    settings: dict[str, Any] = {"ciphers": "no such cipher", "check_hostname": False}
    with pytest.raises(ssl.SSLError):
        SocketStream.ssl_connect("127.0.0.1", listener.getsockname()[1], settings)
    with pytest.raises(ValueError, match="check_hostname"):
        SocketStream.ssl_connect("127.0.0.1", 1, {"cert_reqs": ssl.CERT_NONE})
    with pytest.raises(FileNotFoundError):
        SocketStream.ssl_connect("127.0.0.1", 1, {"certfile": "/no/such/file"})
    with pytest.raises(FileNotFoundError):
        SocketStream.ssl_connect("127.0.0.1", 1, {"ca_certs": "/no/such/file"})


def test_a_failed_tls_handshake_leaves_no_socket(listener: socket.socket) -> None:
    import ssl

    def refuse() -> None:
        accepted, _ = listener.accept()
        with accepted, contextlib.suppress(ConnectionResetError):
            accepted.sendall(b"this is no TLS\n")
            # Until the client has gone: orderly, or with bytes of ours unread.
            while accepted.recv(1000):
                pass

    wait = in_thread(refuse)
    with pytest.raises(OSError) as caught:
        SocketStream.ssl_connect("127.0.0.1", listener.getsockname()[1], {})
    assert isinstance(caught.value, (ssl.SSLError, ConnectionError))
    wait()


def test_tunneled_streams_close_their_tunnel_each_time() -> None:
    closed: list[str] = []

    class Tunnel:
        def close(self) -> None:
            closed.append("closed")

    left, right = socket.socketpair()
    stream = TunneledSocketStream(left)
    assert stream.tun is None
    stream.tun = Tunnel()
    stream.close()
    stream.close()
    right.close()
    assert closed == ["closed", "closed"]
    with TunneledSocketStream(socket.socket()) as without:
        pass
    assert without.closed


def test_streams_of_windows_say_so() -> None:
    for use in (
        lambda: Win32PipeStream(1, 2),
        lambda: NamedPipeStream(1, True),
        NamedPipeStream.from_std,
        NamedPipeStream.create_pair,
        lambda: NamedPipeStream.create_server("x"),
        lambda: NamedPipeStream.create_client("x"),
        Win32PipeStream.create_pair,
    ):
        with pytest.raises(NotImplementedError, match="PipeStream is a kind of pipe that only"):
            use()


def test_the_standard_pipes_are_taken_and_replaced() -> None:
    code = """
        import sys
        from rpyc.core.stream import PipeStream
        stream = PipeStream.from_std()
        print("printed", flush=True)
        assert sys.stdin.read() == ""
        stream.write(stream.read(4)[::-1])
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        input=b"abcd",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"dcba", b"")
