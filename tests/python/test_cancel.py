"""Calls that are given up: the server does not begin them, their handlers can ask, and nothing is left behind."""

from __future__ import annotations

import socket
import struct
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest
from conftest import PATIENCE, RawPeer, Rig, eventually, in_thread

import rpyc
from rpyc.core import brine, consts
from rpyc.core.stream import SocketStream


class Service(rpyc.Service):
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[Any] = []
        self.noticed = threading.Event()

    def exposed_wait(self, name: Any = None) -> Any:
        self.begun.append(name)
        assert self.gate.wait(20)
        return [name]

    def exposed_act(self, name: Any, *_: Any) -> None:
        self.begun.append(name)

    def exposed_watch(self) -> None:
        """Run until nobody waits any more."""
        self.begun.append("watch")
        while not rpyc.is_cancelled():
            assert not self.noticed.wait(0.002)
        self.noticed.set()

    def exposed_asks(self) -> bool:
        return rpyc.is_cancelled()


def held(conn: Any) -> int:
    """How many objects an end holds for its peer."""
    return len(conn._local_objects._dict)


def test_a_call_that_waits_is_not_begun(rig: Rig) -> None:
    """Cancelled, timed out by itself, by its block, or by the configuration, while another one runs before it."""
    service = Service()
    pair = rig.pair(service)
    conn = pair.client
    rig.on_end(service.gate.set)
    wait, act = rpyc.async_(conn.root.wait), conn.root.act
    running = wait("first")
    eventually(lambda: service.begun)
    cancelled = rpyc.async_(act)("cancelled")
    assert cancelled.cancel() and cancelled.cancelled
    timed = rpyc.timed(act, 0.02)("timed")
    with pytest.raises(TimeoutError):
        timed.wait()
    with conn.timeout(0.02), pytest.raises(TimeoutError):
        act("block")
    conn._config["sync_request_timeout"] = 0.02
    with pytest.raises(TimeoutError):
        act("configured")
    conn._config["sync_request_timeout"] = 30
    wanted = rpyc.async_(act)("wanted")
    service.gate.set()
    wanted.wait()
    assert list(running.value) == ["first"]
    assert service.begun == ["first", "wanted"]
    eventually(lambda: conn.poll_all() or conn._pending_seqs() == [])


def test_in_thread_bound_mode(rig: Rig) -> None:
    """What waits behind a handler of its thread is not begun, a handler can ask, and the threads go on."""
    bound = {"bind_threads": True}
    service = Service()
    conn = rig.pair(service, bound, client_config=bound).client
    rig.on_end(service.gate.set)
    act = rpyc.async_(conn.root.act)
    running = rpyc.async_(conn.root.wait)("first")
    eventually(lambda: service.begun)
    for name in range(20):
        assert act(name).cancel()
    wanted = act("wanted")
    service.gate.set()
    wanted.wait()
    assert list(running.value) == ["first"]
    assert service.begun == ["first", "wanted"]
    watched = rpyc.async_(conn.root.watch)()
    eventually(lambda: "watch" in service.begun)
    assert watched.cancel()
    assert service.noticed.wait(PATIENCE)
    # Neither end takes a thread for occupied: calls from others find their way, and back.
    assert in_thread(lambda: conn.root.asks()).result(PATIENCE) is False
    conn.root.act("again")
    assert service.begun[-1] == "again"
    eventually(lambda: conn.poll_all() or conn._pending_seqs() == [])


def test_many_calls_are_not_begun(rig: Rig) -> None:
    """More than fit into a buffer."""
    service = Service()
    conn = rig.pair(service).client
    rig.on_end(service.gate.set)
    act = rpyc.async_(conn.root.act)
    running = rpyc.async_(conn.root.wait)()
    eventually(lambda: service.begun)
    asked = [act(number, b"x" * 5000) for number in range(20)]
    for result in asked:
        assert result.cancel()
    service.gate.set()
    running.wait()
    conn.ping()
    assert len(service.begun) == 1
    conn.root.act("again")
    assert service.begun[-1] == "again"


def test_the_last_of_a_burst_is_not_begun(rig: Rig) -> None:
    """It came along with the one before it, and was given up while that one ran."""
    service = Service()
    rig.on_end(service.gate.set)
    peer = rig.raw(service)
    _, (_, id_pack) = peer.request(consts.HANDLE_GETROOT)

    def asking(seq: int, name: str) -> bytes:
        boxed = ((3, id_pack), (1, name), (1, (name,)))
        payload = b"\x01" + brine.dump((seq, (consts.HANDLE_CALLATTR, (2, boxed))))
        return struct.pack("!LB", len(payload), 0) + payload + b"\n"

    peer.sock.sendall(asking(10, "wait") + asking(11, "act"))
    eventually(lambda: service.begun)
    peer.send(b"\x01" + brine.dump((12, (consts.HANDLE_CANCEL, (1, (11,))))))
    # What has come is looked at once in a tick of the system.
    time.sleep(0.03)
    service.gate.set()
    answered = [brine.load((peer.receive() or b"")[1:])[0] for _ in range(2)]
    assert sorted(answered) == [10, 12]
    assert service.begun == ["wait"]


def test_what_it_referred_to_is_let_go(rig: Rig) -> None:
    """Of a call that is not begun its arguments, of one that ends too late its result: nobody keeps them."""
    service = Service()
    pair = rig.pair(service)
    conn = pair.client
    rig.on_end(service.gate.set)
    wait, act = rpyc.async_(conn.root.wait), rpyc.async_(conn.root.act)
    conn.ping()
    here, there = held(conn), held(pair.server)
    late = wait([])
    eventually(lambda: service.begun)
    results = [act(object(), [object()]) for _ in range(20)]
    assert held(conn) == here + 41
    for result in (*results, late):
        result.cancel()
    service.begun.clear()
    service.gate.set()
    eventually(lambda: (conn.ping(), held(conn), held(pair.server))[1:] == (here, there))
    assert service.begun == []


def test_a_handler_can_ask(rig: Rig) -> None:
    """Though it is the only thread of its connection; whichever way the call was given up."""
    service = Service()
    server = rig.serve(service)
    conn = rig.connect(server)
    watch = conn.root.watch
    assert conn.root.asks() is False
    for give_up in ("cancel", "time", "block"):
        service.noticed.clear()
        service.begun.clear()
        if give_up == "cancel":
            result = rpyc.async_(watch)()
            eventually(lambda: service.begun)
            result.cancel()
        elif give_up == "time":
            with pytest.raises(TimeoutError):
                rpyc.timed(watch, 0.1)().wait()
        else:
            with conn.timeout(0.1), pytest.raises(TimeoutError):
                watch()
        assert service.noticed.wait(PATIENCE), give_up
        assert conn.root.asks() is False
    assert rpyc.is_cancelled() is False


def test_a_lost_caller_is_one_that_gave_up(rig: Rig) -> None:
    """The handler learns of it by the same question."""
    service = Service()
    conn = rig.connect(rig.serve(service))
    rpyc.async_(conn.root.watch)()
    eventually(lambda: service.begun)
    conn._channel.stream.sock.shutdown(2)
    assert service.noticed.wait(PATIENCE)


def test_a_cancelled_result(rig: Rig) -> None:
    """It is ready, raises what it should, tells its callbacks once, and an answer that comes late changes nothing."""
    service = Service()
    conn = rig.pair(service).client
    rig.on_end(service.gate.set)
    told: list[Any] = []
    result = rpyc.async_(conn.root.wait)(1)
    result.add_callback(told.append)
    eventually(lambda: service.begun)
    assert result.cancel()
    assert not result.cancel()
    assert result.ready and result.error and result.cancelled and not result.expired
    assert told == [result]
    for read in (result.wait, lambda: result.value):
        with pytest.raises(CancelledError, match="CALL was cancelled"):
            read()
    service.gate.set()
    conn.ping()
    done = rpyc.async_(conn.root.act)(2)
    done.wait()
    assert not done.cancel() and not done.cancelled
    assert result.error and told == [result]


def test_a_waiting_thread_is_woken(rig: Rig) -> None:
    """Another thread may cancel what this one waits for."""
    service = Service()
    conn = rig.pair(service).client
    rig.on_end(service.gate.set)
    result = rpyc.async_(conn.root.wait)()
    waiting = in_thread(result.wait)
    eventually(lambda: conn._is_being_read)
    assert result.cancel()
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)


def cancelling(peer: RawPeer) -> list[int]:
    """The requests that an end sends when a call of it is cancelled: its handlers."""
    result = peer.conn.async_request(consts.HANDLE_CALL, "anything")
    result.cancel()
    payload = peer.receive()
    assert payload is not None
    handlers = [brine.load(payload[1:])[1][0]]
    peer.sock.settimeout(0.05)
    try:
        while payload := peer.receive():
            seq, (handler, args) = brine.load(payload[1:])
            handlers.append(handler)
            if handler == consts.HANDLE_CANCEL:
                peer.send(b"\x03" + brine.dump((seq, (("builtins", "KeyError"), ("111",), (), ""))))
                peer.conn.poll(1)
    except TimeoutError:
        peer.sock.settimeout(PATIENCE)
    return handlers


def test_rpyc_is_told_once(rig: Rig) -> None:
    """A peer that does not know the message says so, and is not told again."""
    mine, theirs = socket.socketpair()
    peer = RawPeer(mine, rpyc.connect_stream(SocketStream(theirs), config={"close_timeout": 0}))
    rig.on_end(peer.sock.close)
    rig.on_end(peer.conn.close)
    assert cancelling(peer) == [consts.HANDLE_CALL, consts.HANDLE_CANCEL]
    assert cancelling(peer) == [consts.HANDLE_CALL]
    peer.conn._keep_features([])
    assert cancelling(peer) == [consts.HANDLE_CALL]


def test_numbers_of_nothing(rig: Rig) -> None:
    """A peer may cancel what it never asked for, as often as it likes; nonsense is answered with an error."""
    service = Service()
    peer = rig.raw(service)
    for number in range(100, 6000):
        peer.send(b"\x01" + brine.dump((number, (consts.HANDLE_CANCEL, (1, (10**9 + number,))))))
    for _ in range(100, 6000):
        payload = peer.receive()
        assert payload is not None and payload[0] == consts.MSG_REPLY
    for wrong in (-1, "one", 2**70):
        assert peer.request(consts.HANDLE_CANCEL, (2, ((1, wrong),)))[0] == consts.MSG_EXCEPTION
    assert peer.request(consts.HANDLE_PING, (1, ("p",))) == (consts.MSG_REPLY, (1, "p"))
