"""Connecting: all the ways there are, and what happens when they fail."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually

import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream, SocketStream
from rpyc.utils import factory


class Sum(rpyc.Service):
    def exposed_add(self, a: int, b: int) -> int:
        return a + b

    def exposed_call(self, function: Any, value: Any) -> Any:
        return function(value)

    def exposed_process(self) -> int:
        return os.getpid()

    def exposed_namespace_of(self, name: str) -> Any:
        return self.exposed_namespace[name]  # type: ignore[attr-defined]


class Named(Sum):
    def __init__(self) -> None:
        self.exposed_namespace = {"old": 1}


class Client(rpyc.Service):
    """Notes its connection."""

    def on_connect(self, conn: Any) -> None:
        conn.noted = True


# --------------------------------------------------------------------- transports


def test_tcp(rig: Rig) -> None:
    server = rig.serve(Sum)
    conn = factory.connect(
        "localhost", server.port, service=Client, config={"connid": "mine"}, keepalive=True
    )
    rig.on_end(close_quietly, conn)
    assert conn.root.add(1, 2) == 3
    assert conn.noted
    assert "mine" in repr(conn)
    assert conn._config["endpoints"] is None
    sock = conn._channel.stream.sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_unix_socket(rig: Rig) -> None:
    server = rig.serve(Sum, unix=True)
    assert rig.connect(server).root.add(1, 2) == 3


def test_channels_and_streams(rig: Rig) -> None:
    server = rig.serve(Sum)
    stream = SocketStream.connect("127.0.0.1", server.port)
    conn = factory.connect_channel(Channel(stream, compress=False))
    rig.on_end(close_quietly, conn)
    assert conn.root.call(str, 5) == "5"
    other = factory.connect_stream(SocketStream.connect("127.0.0.1", server.port), Client)
    rig.on_end(close_quietly, other)
    assert other.root.add(2, 2) == 4


def test_pipes(rig: Rig) -> None:
    here, there = PipeStream.create_pair()
    thread = threading.Thread(target=lambda: factory.connect_stream(there, Sum).serve_all())
    thread.start()
    conn = factory.connect_pipes(here.incoming, here.outgoing)
    assert conn.root.add(1, 2) == 3
    conn.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_connect_method_of_the_stream_can_be_replaced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = rig.serve(Sum)
    asked: list[Any] = []

    def connect(cls: Any, /, host: str, port: int, **options: Any) -> Any:
        asked.append((host, port, options))
        return cls(cls._connect("127.0.0.1", server.port))

    monkeypatch.setattr(SocketStream, "connect", classmethod(connect))
    conn = factory.connect("far.away.invalid", 1)
    rig.on_end(close_quietly, conn)
    assert conn.root.add(1, 2) == 3
    assert asked == [("far.away.invalid", 1, {"ipv6": False, "keepalive": False})]


def test_nobody_there(rig: Rig) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            factory.connect("127.0.0.1", sock.getsockname()[1])
    with pytest.raises(FileNotFoundError):
        factory.unix_connect(str(rig.directory() / "nothing"))


# ---------------------------------------------------------------------- own peers


def test_a_thread_of_this_process(leak_check: None) -> None:
    conn = factory.connect_thread(Client, {"connid": "here"}, Sum, {"connid": "there"})
    assert conn.root.call(lambda value: value * 2, 21) == 42
    assert conn.root.process() == os.getpid()
    assert conn.noted
    conn.close()


def test_a_process_of_its_own(leak_check: None) -> None:
    conn = factory.connect_multiprocess(remote_service=Sum)
    assert conn.root.add(1, 2) == 3
    assert conn.root.process() != os.getpid()
    conn.close()
    no_children_left()


@pytest.mark.parametrize("service", [Sum, Named])
def test_arguments_for_a_process(leak_check: None, service: Any) -> None:
    conn = factory.connect_multiprocess(remote_service=service, args={"new": 5})
    assert conn.root.namespace_of("new") == 5
    if service is Named:
        assert conn.root.namespace_of("old") == 1
    conn.close()
    no_children_left()


def no_children_left() -> None:
    """Wait until the processes of this one have ended."""
    eventually(lambda: not multiprocessing.active_children())


def test_memory_shared_with_a_process() -> None:
    """Without leak check: shared memory stays until this process ends."""
    shared = multiprocessing.Value("i", 1)
    conn = factory.connect_multiprocess(
        rpyc.ClassicService, {}, rpyc.SlaveService, args={"shared": shared}
    )
    conn.execute("shared.value += 41")
    assert shared.value == 42
    conn.close()
    no_children_left()


def test_a_child_process_over_its_pipes(leak_check: None) -> None:
    conn = factory.connect_subproc([sys.executable, "-u", "-c", CHILD])
    assert conn.root.add(1, 2) == 3
    assert conn.root.process() == conn.proc.pid != os.getpid()
    conn.close()
    assert conn.proc.wait(PATIENCE) == 0


CHILD = """
import os, rpyc
from rpyc.utils.factory import connect_stdpipes
class Sum(rpyc.Service):
    def exposed_add(self, a, b):
        print("this goes nowhere")
        return a + b
    def exposed_process(self):
        return os.getpid()
connect_stdpipes(Sum).serve_all()
"""


def test_a_child_that_cannot_be_spoken_to_is_ended(
    monkeypatch: pytest.MonkeyPatch, leak_check: None
) -> None:
    started: list[Any] = []

    class Noting(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    class Failing(rpyc.Service):
        def on_connect(self, conn: Any) -> None:
            raise RuntimeError("no")

    monkeypatch.setattr(subprocess, "Popen", Noting)
    with pytest.raises(RuntimeError, match="no"):
        factory.connect_subproc(
            [sys.executable, "-c", "import time; time.sleep(60)"],
            Failing,
            # The mute child does not answer to the end of the connection either.
            {"sync_request_timeout": 0.1},
        )
    assert started.pop().returncode is not None


# ------------------------------------------------------------------------ tunnels


class Machine:
    """A machine whose tunnels lead to this one."""

    def __init__(self) -> None:
        self.tunnels: list[Tunnel] = []

    def tunnel(self, local_port: int, remote_port: int) -> Tunnel:
        self.tunnels.append(Tunnel(local_port, remote_port))
        return self.tunnels[-1]


class Tunnel:
    """Passes one connection on."""

    def __init__(self, local_port: int, remote_port: int) -> None:
        self.closed = 0
        self._listener = socket.create_server(("localhost", local_port))
        self._thread = threading.Thread(target=self._run, args=(remote_port,))
        self._thread.start()

    def close(self) -> None:
        self.closed += 1
        self._listener.close()
        self._thread.join(PATIENCE)

    def _run(self, remote_port: int) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        with near, socket.create_connection(("localhost", remote_port)) as far:
            back = threading.Thread(target=self._pump, args=(far, near))
            back.start()
            self._pump(near, far)
            back.join(PATIENCE)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_a_tunnel(rig: Rig) -> None:
    server, machine = rig.serve(Sum), Machine()
    conn = factory.ssh_connect(machine, server.port)
    assert conn.root.add(1, 2) == 3
    (tunnel,) = machine.tunnels
    assert conn._channel.stream.tun is tunnel
    assert not tunnel.closed
    conn.close()
    assert tunnel.closed


def test_a_tunnel_that_leads_nowhere_is_closed(leak_check: None) -> None:
    class Blocked:
        closed = False

        def tunnel(self, local_port: int, remote_port: int) -> Any:
            return self

        def close(self) -> None:
            self.closed = True

    machine = Blocked()
    with pytest.raises(ConnectionRefusedError):
        factory.ssh_connect(machine, 1)
    assert machine.closed
