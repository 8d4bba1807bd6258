"""Empty frames ahead of large values: for peers of this package only, and they change nothing else."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from conftest import PATIENCE, RawPeer, Rig, close_quietly, in_thread
from hostile import LOCAL, REMOTE, TUPLE, VALUE

import rpyc
from rpyc.core import brine, consts
from rpyc.core.stream import SocketStream

LARGE = os.urandom(1 << 20)
ROOT = (REMOTE, ("builtins.list", 5, 6))
INTRODUCTION = (TUPLE, ((VALUE, "introduction"), (VALUE, ((), ())), ROOT))

NEAR = 80
"""Bytes behind the start of a page where a receiver may be about to write a large value."""


class Echoing(rpyc.Service):
    def exposed_echo(self, value: Any) -> Any:
        return value


def asks(seq: int, handler: int, boxed: Any) -> bytes:
    return bytes([consts.MSG_REQUEST]) + brine.dump((seq, (handler, boxed)))


def next_message(peer: RawPeer) -> tuple[int, bytes]:
    """How many empty frames come first, and the next one that is not."""
    empty = 0
    while not (payload := peer.receive()):
        assert payload is not None, "the stream has ended"
        empty += 1
    return empty, payload


def root_of(peer: RawPeer, *, introduced: bool) -> Any:
    """The id of the root, asked for as RPyC does, or as a peer of this package does."""
    request = asks(0, consts.HANDLE_GETROOT, (VALUE, ()))
    # The arguments are the last byte: an empty tuple, in its short form.
    peer.send(request[:-1] + b"\x14\x00" if introduced else request)
    empty, payload = next_message(peer)
    assert empty == 0
    _, (_, answer) = brine.load(payload[1:])
    return answer[2][1] if introduced else answer


@pytest.mark.parametrize("introduced", [True, False], ids=["kin", "stranger"])
def test_what_a_server_sends(rig: Rig, introduced: bool) -> None:
    peer = rig.raw_client(rig.serve(Echoing))
    root = root_of(peer, introduced=introduced)
    for seq, value in enumerate([LARGE, b"small", LARGE[:40_000]], 1):
        args = (TUPLE, ((LOCAL, root), (VALUE, "echo"), (VALUE, (value,)), (VALUE, ())))
        peer.send(asks(seq, consts.HANDLE_CALLATTR, args))
        empty, payload = next_message(peer)
        assert brine.load(payload[1:]) == (seq, (VALUE, value))
        before = 6 * empty + 5 + len(payload) - len(value)
        assert (empty > 0) == (introduced and value != b"small"), empty
        assert not empty or NEAR <= before < 2 * NEAR, before


@pytest.mark.parametrize("answer", [INTRODUCTION, ROOT], ids=["kin", "stranger"])
def test_what_a_client_sends(answer: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = SocketStream.connect("127.0.0.1", listener.getsockname()[1])
        peer = RawPeer(listener.accept()[0])
    conn = rpyc.connect_stream(stream)
    try:
        root = in_thread(lambda: conn.root)
        _, payload = next_message(peer)
        peer.send(bytes([consts.MSG_REPLY]) + brine.dump((brine.load(payload[1:])[0], answer)))
        root.result(PATIENCE)
        echo = in_thread(lambda: conn.ping(LARGE, PATIENCE))
        empty, payload = next_message(peer)
        seq, (handler, boxed) = brine.load(payload[1:])
        assert (handler, boxed) == (consts.HANDLE_PING, (VALUE, (LARGE,)))
        assert (empty > 0) == (answer is INTRODUCTION), empty
        peer.send(bytes([consts.MSG_REPLY]) + brine.dump((seq, (VALUE, LARGE))))
        echo.result(PATIENCE)
    finally:
        peer.sock.close()
        close_quietly(conn)


def test_values_arrive_whole(rig: Rig) -> None:
    """Both ways, of all lengths, several in a message, and many on their way at once."""
    server = rig.serve(Echoing)
    conn = rig.connect(server)
    echo = rpyc.async_(conn.root.echo)
    sizes = [32_768, 32_769, 65_536, 70_000, 1 << 20, 3_000_001]
    values: list[Any] = [LARGE * 3, (LARGE, "between", LARGE), *(os.urandom(size) for size in sizes)]
    results = [(value, echo(value)) for _ in range(3) for value in values]
    assert all(result.value == value for value, result in results)
