"""Extensions: what two peers of this package can do beyond RPyC's protocol, and how they learn it of each other."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conftest import Rig, in_thread, in_threads

import rpyc
from rpyc.core import brine, consts


class Asked(rpyc.Connection):
    """Counts how often the peer asks for extensions."""

    count = 0

    def _handle_features(self) -> tuple[str, ...]:
        type(self).count += 1
        return super()._handle_features()


class Plain(rpyc.Service):
    """Echoes."""

    def exposed_same(self, value: Any) -> Any:
        """The argument."""
        return value


class Watched(Plain):
    """Served by connections that count."""

    _protocol = Asked


@pytest.fixture(autouse=True)
def fresh_count() -> None:
    """Each test counts from zero."""
    Asked.count = 0


def test_nothing_is_asked_before_an_extension_is_wanted(rig: Rig) -> None:
    """Connecting and calling costs no message more than with RPyC."""
    conn = rig.connect(rig.serve(Watched))
    assert conn.root.same(1) == 1
    assert conn.ping() is not None
    assert not conn._knows_features
    assert Asked.count == 0


def test_the_peer_is_asked_once(rig: Rig) -> None:
    """The answer is kept for the life of the connection."""
    conn = rig.connect(rig.serve(Watched))
    assert conn._peer_has("pickle_buffers")
    assert conn._knows_features
    assert conn._peer_has("pickle_buffers")
    assert conn._ask_features() is None
    assert Asked.count == 1


def test_threads_that_ask_at_once_get_one_answer(rig: Rig) -> None:
    """Whoever asks first: all know it then."""
    conn = rig.connect(rig.serve(Watched))
    start = threading.Barrier(4)

    def ask() -> bool:
        start.wait(5)
        return bool(conn._peer_has("pickle_buffers"))

    assert in_threads(*[ask] * 4) == [True] * 4
    assert 1 <= Asked.count <= 4


def test_asking_need_not_wait(rig: Rig) -> None:
    """The answer is noted whenever it comes."""
    conn = rig.connect(rig.serve(Watched))
    asked = conn._ask_features()
    assert asked is not None
    asked.wait()
    conn.ping()
    assert conn._knows_features


def test_an_unknown_extension_is_an_error_of_the_asker(rig: Rig) -> None:
    """No typing error passes for an extension that the peer lacks."""
    conn = rig.connect(rig.serve(Plain))
    with pytest.raises(ValueError, match="no extension speling"):
        conn._peer_has("speling")


EXCEPTION = (("builtins", "KeyError"), (100,), (), "no such handler")


@pytest.mark.parametrize(
    ("kind", "body", "has"),
    [
        (consts.MSG_EXCEPTION, EXCEPTION, False),
        (consts.MSG_REPLY, (consts.LABEL_VALUE, ()), False),
        (consts.MSG_REPLY, (consts.LABEL_VALUE, ("of the future", "pickle_buffers", 7, None)), True),
        (consts.MSG_REPLY, (consts.LABEL_VALUE, None), False),
        (consts.MSG_REPLY, (consts.LABEL_VALUE, "pickle_buffers"), False),
        (consts.MSG_REPLY, (consts.LABEL_REMOTE_REF, ("builtins.list", 1, 2)), False),
    ],
)
def test_any_answer_will_do(rig: Rig, kind: int, body: Any, has: bool) -> None:
    """RPyC answers an exception; what peers of the future answer is harmless; what makes no sense is no extension."""
    peer = rig.raw(rpyc.VoidService)
    asking = in_thread(lambda: peer.conn._peer_has("pickle_buffers"))
    payload = peer.receive()
    assert payload is not None
    seq, (handler, args) = brine.load(payload[1:])
    assert (handler, args) == (consts.HANDLE_FEATURES, (consts.LABEL_VALUE, ()))
    peer.send(bytes([kind]) + brine.dump((seq, body)))
    assert asking.result(5) is has
    assert peer.conn._knows_features


def test_the_end_of_the_connection_is_no_answer(rig: Rig) -> None:
    """Whoever asks is told that the peer is gone."""
    peer = rig.raw(rpyc.VoidService)
    asking = in_thread(lambda: peer.conn._peer_has("pickle_buffers"))
    assert peer.receive() is not None
    peer.sock.close()
    with pytest.raises(EOFError):
        asking.result(5)
    assert not peer.conn._knows_features


def test_the_wait_has_the_bound_of_a_request(rig: Rig) -> None:
    """A peer that does not answer is no peer without extensions."""
    peer = rig.raw(rpyc.VoidService, {"sync_request_timeout": 0.05})
    with pytest.raises(TimeoutError):
        peer.conn._peer_has("pickle_buffers")
    assert not peer.conn._knows_features


def test_the_old_dialect_has_no_extensions(rig: Rig) -> None:
    """Its peers are not asked."""
    conn = rig.raw(rpyc.VoidService, {"protocol_version": 5}).conn
    assert not conn._peer_has("pickle_buffers")


def test_a_raw_peer_is_told(rig: Rig) -> None:
    """What the answer looks like on the wire."""
    peer = rig.raw(rpyc.VoidService)
    kind, (label, names) = peer.request(consts.HANDLE_FEATURES)
    assert (kind, label) == (consts.MSG_REPLY, consts.LABEL_VALUE)
    assert names == peer.conn._features
    assert "pickle_buffers" in names
    assert peer.request(consts.HANDLE_FEATURES, (consts.LABEL_VALUE, (1,)))[0] == consts.MSG_EXCEPTION
