"""Signs of life: a silent peer is found, a busy one is not taken for silent, and nothing else changes."""

from __future__ import annotations

import select
import socket
import threading
from typing import Any

import pytest
from conftest import PATIENCE, RawPeer, Rig, eventually, in_thread

import rpyc
from rpyc.core import brine, consts
from rpyc.core.stream import SocketStream

HEART = 0.4
"""Seconds of silence that are too many. A loaded machine stays below it; the tests wait for several."""


class Service(rpyc.Service):
    """Notes its end, and holds a call until it is told to go on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.ended = 0

    def on_disconnect(self, conn: Any) -> None:
        self.ended += 1

    def exposed_wait(self) -> str:
        assert self.gate.wait(20)
        return "done"


class Handmade(RawPeer):
    """A peer of frames that answers what it is asked to, and never says anything by itself."""

    def __init__(self, rig: Rig, **config: Any) -> None:
        mine, theirs = socket.socketpair()
        super().__init__(mine)
        self.service = Service()
        self.conn = rpyc.connect_stream(SocketStream(theirs), self.service, {"close_timeout": 0, **config})
        rig.on_end(self.sock.close)
        rig.on_end(self.conn.close)

    def answer(self, kind: int, body: Any) -> int:
        """Answer the next request, and return its handler."""
        payload = self.receive()
        assert payload is not None
        seq, (handler, _) = brine.load(payload[1:])
        self.send(bytes([kind]) + brine.dump((seq, body)))
        assert isinstance(handler, int)
        return handler


UNKNOWN = (("builtins", "KeyError"), ("110",), (), "")
"""What RPyC answers to a handler that it does not know."""


@pytest.mark.parametrize("waits", [False, True])
def test_a_silent_peer_is_found(rig: Rig, waits: bool) -> None:
    """Whether somebody waits for it or not; the service is told once."""
    peer = Handmade(rig, heartbeat=HEART, sync_request_timeout=None)
    waiting = in_thread(lambda: peer.conn.root) if waits else None
    eventually(lambda: peer.service.ended == 1)
    assert peer.conn.closed
    if waiting is not None:
        with pytest.raises(rpyc.ConnectionLost, match="no sign of life") as caught:
            waiting.result(PATIENCE)
        assert caught.value.cause == "silent"
    with pytest.raises(rpyc.ConnectionLost, match="no sign of life"):
        peer.conn.ping()
    assert peer.service.ended == 1


def test_a_peer_with_rpyc_is_pinged(rig: Rig) -> None:
    """It does not know the request for signs of life; as long as it answers pings, it lives."""
    peer = Handmade(rig, heartbeat=HEART)
    assert peer.answer(consts.MSG_EXCEPTION, UNKNOWN) == consts.HANDLE_HEARTBEAT
    for _ in range(6):
        assert peer.answer(consts.MSG_REPLY, (1, "")) == consts.HANDLE_PING
    assert not peer.conn.closed and peer.service.ended == 0
    eventually(lambda: peer.conn._pending_seqs() == [])
    # It falls silent.
    eventually(lambda: peer.service.ended == 1)


def test_a_peer_that_beats_is_not_pinged(rig: Rig) -> None:
    """Its empty frames are signs enough, and disappear."""
    peer = Handmade(rig, heartbeat=HEART)
    assert peer.answer(consts.MSG_REPLY, (1, None)) == consts.HANDLE_HEARTBEAT
    peer.sock.settimeout(HEART / 8)
    for _ in range(24):
        peer.send(b"")
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)
    assert not peer.conn.closed
    eventually(lambda: peer.conn._tend()[1] == 0)


def test_signs_of_life_while_a_request_runs(rig: Rig) -> None:
    """A server of ours lives, though its only thread for the connection is busy for much longer."""
    service = Service()
    server = rig.serve(service)
    rig.on_end(service.gate.set)
    conn = rig.connect(server, heartbeat=HEART, sync_request_timeout=None)
    idle = rig.connect(server, heartbeat=HEART)
    waiting = in_thread(lambda: conn.root.wait())
    threading.Timer(HEART * 4, service.gate.set).start()
    assert waiting.result(PATIENCE) == "done"
    assert not idle.closed
    idle.ping()


def test_both_sides_watch(rig: Rig) -> None:
    """Neither serves, and both live: the threads that watch answer for them."""
    mine, theirs = socket.socketpair()
    ends = [rpyc.connect_stream(SocketStream(sock), config={"heartbeat": HEART, "close_timeout": 0}) for sock in (mine, theirs)]
    for conn in ends:
        rig.on_end(conn.close)
    gone = threading.Event()
    assert not gone.wait(HEART * 3)
    assert [conn.closed for conn in ends] == [False, False]


def test_peers_ask_for_signs_of_life(rig: Rig) -> None:
    """They get them while nobody serves, not more often than is good, and not for nonsense."""
    peer = Handmade(rig)
    serving = in_thread(peer.conn.serve_all)
    for wrong in (0, -1, float("inf"), "often"):
        assert peer.request(consts.HANDLE_HEARTBEAT, (2, ((1, wrong),)))[0] == consts.MSG_EXCEPTION
    assert peer.request(consts.HANDLE_HEARTBEAT, (2, ((1, 1e-9),))) == (consts.MSG_REPLY, (1, None))
    for _ in range(3):
        assert peer.receive() == b""
    peer.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            peer.sock.recv(1 << 16)
    peer.close()
    serving.result(PATIENCE)


def test_what_is_for_the_program_stays_where_it_is(rig: Rig) -> None:
    """A request waits in the socket, where a program that selects sees it, and its turn is the program's."""
    peer = Handmade(rig, heartbeat=60)
    peer.answer(consts.MSG_REPLY, (1, None))
    peer.send(b"")
    peer.send(b"\x01" + brine.dump((0, (consts.HANDLE_GETROOT, (1, ())))))
    peer.send(b"")
    eventually(lambda: peer.conn._tend()[1] > 0)
    assert select.select([peer.conn], [], [], 0)[0] == [peer.conn]
    assert not peer.conn._has_buffered_input()
    assert peer.conn.poll(1)
    payload = peer.receive()
    assert payload is not None and payload[0] == consts.MSG_REPLY


def test_an_idle_connection_learns_of_its_end(rig: Rig) -> None:
    """Nobody reads, and still it is closed soon after its peer has gone."""
    peer = Handmade(rig, heartbeat=HEART)
    peer.answer(consts.MSG_REPLY, (1, None))
    peer.sock.close()
    eventually(lambda: peer.service.ended == 1)
    assert peer.conn._end_reason == "connection closed by peer"


def test_a_time_is_wanted() -> None:
    """Nonsense is refused when the connection is made."""
    for wrong in (0, -1, "soon", float("nan")):
        mine, theirs = socket.socketpair()
        with theirs, pytest.raises(ValueError, match="heartbeat is a number of seconds"):
            rpyc.connect_stream(SocketStream(mine), config={"heartbeat": wrong})
        mine.close()


def test_forked_children_have_hearts_of_their_own(rig: Rig) -> None:
    """The thread does not come along, and a child starts another one when it needs it."""
    server = rig.serve(Service())
    program = rig.program(
        """
import os, sys, threading, time, warnings, rpyc
# Python 3.12 and newer warn of a fork beside threads, which is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)
port = int(sys.argv[1])
conn = rpyc.connect("127.0.0.1", port, config={"heartbeat": 0.4})
child = os.fork()
if child == 0:
    assert "RpycHeartbeat" not in [thread.name for thread in threading.enumerate()]
    own = rpyc.connect("127.0.0.1", port, config={"heartbeat": 0.4})
    assert "RpycHeartbeat" in [thread.name for thread in threading.enumerate()]
    time.sleep(0.8)
    own.ping()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
conn.ping()
print("done")
""",
        server.port,
    )
    assert program.line() == "done"
    assert program.wait() == 0
    assert program.errors() == ""
