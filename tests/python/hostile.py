"""A connection of ours at one end, and at the other an attacker that speaks bare frames.

The connection under attack plays either role. As a *server* it serves a service in a thread. As a *client* a thread of
it waits for the answer to a call, which the attacker never gives: it attacks meanwhile.
"""

from __future__ import annotations

import socket
import struct
from concurrent.futures import Future
from typing import Any

from conftest import PATIENCE, RawPeer, Rig, close_quietly, in_thread

import rpyc
from rpyc.core import brine, consts
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

ROLES = ("server", "client")

VALUE, TUPLE, LOCAL, REMOTE = consts.LABEL_VALUE, consts.LABEL_TUPLE, consts.LABEL_LOCAL_REF, consts.LABEL_REMOTE_REF


class PythonStream(SocketStream):
    """Not a plain stream, so it is driven through its Python methods, as TLS is."""


class Victim:
    """`conn` is under attack, `peer` attacks; `waiting` ends with what the client's call or the serving loop ends with."""

    def __init__(self, conn: Any, peer: RawPeer, waiting: Future[Any]) -> None:
        self.conn, self.peer, self.waiting = conn, peer, waiting

    def is_well(self) -> bool:
        """Whether the connection still answers."""
        return self.peer.request(consts.HANDLE_PING, (VALUE, ("well",))) == (consts.MSG_REPLY, (VALUE, "well"))

    def ask(self, handler: int, *boxed: Any) -> tuple[int, Any]:
        """Send a request with these boxed arguments; (message type, body) of the answer."""
        return self.peer.request(handler, (TUPLE, boxed))

    def refusal(self, handler: int, *boxed: Any) -> tuple[str, str]:
        """Send a request that must be refused; class name and text of the exception."""
        kind, body = self.ask(handler, *boxed)
        assert kind == consts.MSG_EXCEPTION, body
        (_, name), args, _, _ = body
        return name, str(args[0]) if args else ""

    def root(self) -> Any:
        """The boxed reference to the root: what requests on it start with."""
        kind, (label, id_pack) = self.ask(consts.HANDLE_GETROOT)
        assert (kind, label) == (consts.MSG_REPLY, REMOTE)
        return LOCAL, id_pack


def victim(rig: Rig, role: str, service: Any = rpyc.VoidService, *, python_stream: bool = False, **config: Any) -> Victim:
    """A connection of ours in that role, with an attacker at the other end."""
    mine, theirs = socket.socketpair()
    stream = PythonStream(theirs) if python_stream else SocketStream(theirs)
    conn = rpyc.connect_channel(Channel(stream), service, {"sync_request_timeout": 30, **config})
    waiting = in_thread(conn.serve_all if role == "server" else lambda: conn.root)
    peer = RawPeer(mine)
    if role == "client":
        asked = peer.receive()
        assert asked is not None and brine.load(asked[1:])[1][0] == consts.HANDLE_GETROOT

    def end() -> None:
        mine.close()
        waiting.exception(PATIENCE)
        close_quietly(conn)

    rig.on_end(end)
    return Victim(conn, peer, waiting)


def frame(body: bytes, *, compressed: bool = False) -> bytes:
    """A frame with this body as it stands."""
    return struct.pack("!LB", len(body), int(compressed)) + body + b"\n"


def error_of(future: Future[Any]) -> BaseException:
    """What a waiting call or serving loop failed with. AssertionError if it has not ended with an error in time."""
    error = future.exception(PATIENCE)
    assert error is not None, "it ended without an error"
    return error
