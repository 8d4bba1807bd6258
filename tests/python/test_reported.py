"""What users of RPyC have reported over the years, played again: threads, and servers.

Each docstring says the symptom that must not show. The other half is test_reported_proxies.py.
"""

from __future__ import annotations

import io
import logging
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually, in_thread, in_threads
from test_reported_proxies import classic as classic

import rpyc
from rpyc.core.service import SlaveService
from rpyc.utils.server import OneShotServer, Server, ThreadedServer, ThreadPoolServer

POOLS = pytest.mark.parametrize("kind", [ThreadedServer, ThreadPoolServer])


def quiet_logger(name: str) -> tuple[logging.Logger, io.StringIO]:
    text = io.StringIO()
    logger = logging.Logger(name, logging.DEBUG)
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(funcName)s: %(message)s"))
    logger.addHandler(handler)
    return logger, text


# ------------------------------------------------------------------------------------------------------ several threads


class Crossing(rpyc.Service):
    def exposed_visit(self, others: Any) -> int:
        return sum(other.exposed_number() for other in others for _ in range(50))

    def exposed_number(self) -> int:
        return 1


def test_two_connections_that_use_each_other(rig: Rig) -> None:
    """Two proxies of two connections, each of which used the other one in a thread: both threads hung."""
    roots = [rig.connect(rig.serve(Crossing)).root for _ in range(2)]
    assert in_threads(*[lambda root=root: root.visit(roots) for root in roots]) == [100, 100]


def test_a_request_that_waits_for_another_one(rig: Rig) -> None:
    """A request that waited for what the callback of an earlier one sets was served inside of that, and never ended."""
    called = threading.Event()

    class Waiting(rpyc.Service):
        def exposed_first(self, callback: Any) -> str:
            callback()
            called.set()
            return "first"

        def exposed_second(self) -> bool:
            return called.wait(PATIENCE)

    root = rig.connect(rig.serve(Waiting)).root
    results = [rpyc.async_(root.first)(lambda: None), rpyc.async_(root.second)()]
    assert [result.value for result in results] == ["first", True]


def test_a_thread_that_serves_is_in_nobodys_way(rig: Rig) -> None:
    """While one thread was in serve_all, a call of another thread took until some time-out."""
    conn = rig.connect(rig.serve(Crossing))
    serving = in_thread(conn.serve_all)
    assert [conn.root.number() for _ in range(50)] == [1] * 50
    conn.close()
    serving.exception(PATIENCE)


def test_threads_of_the_peer_call_back(rig: Rig, classic: Any) -> None:
    """Callbacks from several threads that the remote side had started stalled this side."""
    classic.execute("""if True:
        import threading
        def start(callback, count):
            threads = [threading.Thread(target=callback, args=(number,)) for number in range(count)]
            [thread.start() for thread in threads]
            [thread.join(10) for thread in threads]
            return any(thread.is_alive() for thread in threads)
    """)
    got: list[int] = []
    assert classic.namespace["start"](got.append, 8) is False and sorted(got) == list(range(8))


def test_a_proxy_that_is_used_in_another_thread(rig: Rig) -> None:
    """An object that a handler had kept could not be used from any other thread of the server."""

    class Keeping(rpyc.Service):
        def exposed_keep(self, thing: Any) -> Any:
            return in_thread(lambda: thing.exposed_number()).result(PATIENCE)

    assert rig.connect(rig.serve(Keeping), Crossing).root.keep(Crossing()) == 1


def test_an_argument_that_comes_straight_back(rig: Rig, classic: Any) -> None:
    """`d.get("a", [])` of a remote dict failed with KeyError now and then, while another thread served."""
    remote = classic.builtins.dict()
    background = rpyc.BgServingThread(classic)
    assert all(in_threads(*[lambda: all(remote.get("a", []) == [] for _ in range(100))] * 4))
    background.stop()


def test_asking_whether_a_result_is_there(rig: Rig) -> None:
    """`AsyncResult.ready` waited for the result."""
    latch = threading.Event()

    class Latched(rpyc.Service):
        def exposed_wait(self) -> bool:
            return latch.wait(PATIENCE)

    result = rpyc.async_(rig.connect(rig.serve(Latched)).root.wait)()
    assert not result.ready
    latch.set()
    assert result.value is True and result.ready


def test_events_come_in_order_with_what_they_carry(rig: Rig) -> None:
    """Asynchronous callbacks with an object of a class that the client does not know were lost, or broke the counting."""

    class Text(str):
        pass

    class Events(rpyc.Service):
        def exposed_go(self, callback: Any, count: int) -> None:
            for number in range(count):
                rpyc.async_(callback)(Text(number))

    conn, got = rig.connect(rig.serve(Events)), []
    conn.root.go(lambda text: got.append(str(text)), 50)
    eventually(lambda: conn.poll_all(0.01) or len(got) == 50)
    assert sorted(got, key=int) == [str(number) for number in range(50)]


# -------------------------------------------------------------------------------------------------------------- servers


@POOLS
def test_a_log_handler_that_a_client_leaves_behind(rig: Rig, kind: type[Server], capsys: Any) -> None:
    """A client attached a handler to the logger of a classic server and left: the server ended, or hung, at the next one.

    (And a server says itself what it says, though it goes through another function.)
    """
    logger, text = quiet_logger("left behind")
    server = kind(SlaveService, hostname="127.0.0.1", port=0, logger=logger)
    thread = server._start_in_thread()
    rig.on_end(thread.join, PATIENCE)
    rig.on_end(server.close)
    conn = rpyc.classic.connect("127.0.0.1", server.port)
    # In one process, a proxy is what would come over the connection of the client.
    logger.addHandler(conn.modules.logging.NullHandler())
    conn.close()
    for _ in range(3):
        again = rpyc.classic.connect("127.0.0.1", server.port)
        assert again.eval("1") == 1
        again.close()
    assert server.active and "accept: accepted" in text.getvalue() and "the log failed" in capsys.readouterr().err
    logger.handlers.pop()


@POOLS
def test_clients_that_come_and_go(rig: Rig, kind: type[Server]) -> None:
    """Under load a pool closed connections of others, whose descriptors had the same number."""
    server = rig.serve(Crossing, kind=kind)

    def visit() -> int:
        total = 0
        for _ in range(10):
            conn = rpyc.connect("127.0.0.1", server.port)
            total += conn.root.number()
            conn.close()
        return total

    assert in_threads(*[visit] * 8) == [10] * 8
    eventually(lambda: not server.clients)


def test_everybody_leaves_once(rig: Rig) -> None:
    """on_disconnect was left out now and then: for clients that reset, or that never spoke."""
    seen = []

    class Counting(rpyc.Service):
        def on_connect(self, conn: Any) -> None:
            seen.append("in")

        def on_disconnect(self, conn: Any) -> None:
            seen.append("out")

    server = rig.serve(Counting)
    for number in range(30):
        client = socket.create_connection(("127.0.0.1", server.port))
        if number % 3 == 0:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if number % 3 == 1:
            client.sendall(b"\0\0\0\5\0hel")
        client.close()
    eventually(lambda: not server.clients and seen.count("in") == seen.count("out"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\x15\x03\x01\x00\x02\x02\x50"])
def test_something_else_listens_there(rig: Rig, greeting: bytes) -> None:
    """What another protocol says was taken for a frame of a gigabyte, which was waited for."""
    listener = socket.create_server(("127.0.0.1", 0))
    rig.on_end(listener.close)
    conn = rpyc.connect("127.0.0.1", listener.getsockname()[1], config={"sync_request_timeout": 5})
    rig.on_end(close_quietly, conn)
    other, _ = listener.accept()
    other.sendall(greeting)
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError, match="GETROOT"):
        conn.root.anything()
    other.close()


def test_one_shot_ends_after_one_client(rig: Rig) -> None:
    """A OneShotServer stayed when its client had gone."""
    server = OneShotServer(Crossing, hostname="127.0.0.1", port=0)
    thread = server._start_in_thread()
    conn = rpyc.connect("127.0.0.1", server.port)
    assert conn.root.number() == 1
    conn.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_handler_that_closes_its_server(rig: Rig) -> None:
    """There was no way to stop a server from one of its own methods."""

    class Stopping(rpyc.Service):
        def exposed_stop(self) -> None:
            server.close()

    server = rig.serve(Stopping)
    with pytest.raises(EOFError):
        rig.connect(server).root.stop()
    eventually(lambda: not server.active and not server.clients)


def test_descriptors_beyond_1024(rig: Rig) -> None:
    """`filedescriptor out of range in select()`, in programs that have many files open."""
    program = rig.program("""if True:
        import resource, rpyc
        from rpyc.utils.server import ThreadPoolServer
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        kept = [open("/dev/null") for _ in range(1100)]
        class Service(rpyc.Service):
            def exposed_answer(self):
                return 42
        server = ThreadPoolServer(Service, hostname="127.0.0.1", port=0)
        server._start_in_thread()
        conn = rpyc.connect("127.0.0.1", server.port)
        print(conn.fileno() > 1024, conn.root.answer())
    """)
    assert program.line() == "True 42"


def test_signals_while_a_call_waits(rig: Rig) -> None:
    """A signal ended the wait with EINTR, or lost part of a large transfer."""
    done = subprocess.run([sys.executable, "-c", """if True:
        import signal, rpyc
        from rpyc.utils.server import ThreadedServer
        class Service(rpyc.Service):
            def exposed_large(self, size):
                return b"x" * size
        server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
        server._start_in_thread()
        count = 0
        def handle(*_):
            global count
            count += 1
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        root = rpyc.connect("127.0.0.1", server.port).root
        sizes = {len(root.large(5_000_000)) for _ in range(10)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(sizes, count > 5)
    """], capture_output=True, text=True, timeout=50)  # fmt: skip
    assert done.stdout == "{5000000} True\n", done.stderr
