"""A peer that wants too much: memory, stack, table entries. Each attack is played against both roles."""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig, eventually
from hostile import LOCAL, REMOTE, ROLES, TUPLE, VALUE, error_of, frame, victim

import rpyc
from rpyc.core import brine, consts

KINDS = pytest.mark.parametrize("python_stream", [False, True], ids=["native", "python-stream"])
BOTH_ROLES = pytest.mark.parametrize("role", ROLES)

# A program under attack: it says which port it listens on, or connects to the one it is given, and waits there.
TARGET = """
import sys, threading
import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

class PythonStream(SocketStream):
    pass

role, port, python_stream = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
stream = (PythonStream if python_stream else SocketStream).connect("127.0.0.1", port)
conn = rpyc.connect_channel(Channel(stream), rpyc.VoidService, {})
print("ready")
try:
    conn.serve_all() if role == "server" else conn.root
except (EOFError, ValueError) as error:
    print(type(error).__name__, error)
sys.stdin.readline()
"""


def peak_memory(pid: int) -> int:
    """The most memory that a process has had resident so far, in bytes (proc(5), VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def bomb(inflated: int) -> bytes:
    """A zlib stream that inflates to that many zeros."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    # The blocks don't depend on one another; an empty last one and the checksum of that many zeros follow.
    return b"\x78\xda" + block * (inflated >> 20) + b"\x03\x00" + struct.pack("!HH", inflated % 65521, 1)


@KINDS
@BOTH_ROLES
def test_a_bomb_of_1_gib_costs_little_memory(rig: Rig, role: str, python_stream: bool) -> None:
    """A megabyte on the wire that inflates to a gigabyte: refused, with the reason, and without having held it."""
    listener = socket.create_server(("127.0.0.1", 0))
    rig.on_end(listener.close)
    program = rig.program(TARGET, role, listener.getsockname()[1], python_stream)
    attacker, _ = listener.accept()
    rig.on_end(attacker.close)
    assert program.line() == "ready"
    body = bomb(1 << 30)
    assert len(body) < 1_100_000
    before = peak_memory(program.process.pid)
    attacker.sendall(frame(body, compressed=True))
    said = program.line(50)
    assert "536870912" in said, said
    assert peak_memory(program.process.pid) - before < 64 << 20


@KINDS
@BOTH_ROLES
def test_frames_and_payloads_beyond_the_configured_size(rig: Rig, role: str, python_stream: bool) -> None:
    """`max_frame_size` and `max_inflated_size` hold on every kind of stream, and the limit itself is still accepted."""
    sizes = {"max_frame_size": 100_000, "max_inflated_size": 50_000}
    fits = b"\x01" + brine.dump((0, (consts.HANDLE_PING, (VALUE, (b"x" * 40_000,)))))
    plain = victim(rig, role, python_stream=python_stream, **sizes)
    plain.peer.sock.sendall(frame(zlib.compress(fits), compressed=True))
    assert brine.load(plain.peer.receive()[1:])[1] == (VALUE, b"x" * 40_000)
    plain.peer.sock.sendall(frame(b"\x01" + b"x" * 100_000)[:5])
    assert "100000" in str(error_of(plain.waiting))
    packed = victim(rig, role, python_stream=python_stream, **sizes)
    packed.peer.sock.sendall(frame(zlib.compress(bytes(60_000)), compressed=True))
    assert "50000" in str(error_of(packed.waiting))


@BOTH_ROLES
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x10" * 100_000 + b"\x02", id="nesting"),
        pytest.param(b"\x17\x00\x01\x00\x00" + b"9" * 65536, id="int"),
        pytest.param(b"\x0f\xff\xff\xff\xff" + b"x" * 100, id="text-length"),
        pytest.param(b"\x15\xff\xff\xff\xff" + b"\x00" * 100, id="tuple-count"),
        pytest.param(b"\x1a\x15\xff\xff\xff\xff" + b"\x00" * 100, id="set-count"),
    ],
)
def test_values_that_promise_too_much(rig: Rig, role: str, body: bytes) -> None:
    """Deep nesting, endless digits, lengths beyond the data: the connection ends, with the reason, and at once."""
    target = victim(rig, role)
    target.peer.send(b"\x01\x11\x50\x11\x51\x11\x51\x10" + body)
    assert isinstance(error_of(target.waiting), (ValueError, EOFError, RecursionError))
    assert target.conn._end_reason


@BOTH_ROLES
@pytest.mark.parametrize("extended", [False, True], ids=["engine", "extended"])
def test_ints_are_bounded_in_the_module_too(role: str, extended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`brine.load`, in the engine's form and in that of programs that extend it, whatever the interpreter allows."""
    if extended:
        monkeypatch.setattr(brine, "_is_extended", True)
    allowed = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert brine.load(b"\x17\x00\x00\x10\xcc" + b"9" * 4300) == 10**4300 - 1
        with pytest.raises(ValueError, match="digits"):
            brine.load(b"\x17\x00\x00\x10\xcd" + b"9" * 4301)
    finally:
        sys.set_int_max_str_digits(allowed)


class Things(rpyc.Service):
    """Gives away objects."""

    def exposed_thing(self) -> object:
        return object()

    def exposed_forever(self) -> Any:
        return itertools.count()

    def exposed_call(self, function: Any) -> Any:
        return function()


@BOTH_ROLES
def test_exported_objects_are_bounded(rig: Rig, role: str) -> None:
    """Beyond `max_exported_objects` a request is refused; what is released makes room again."""
    target = victim(rig, role, Things, max_exported_objects=10)
    root = target.root()
    given = [target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "thing"), (VALUE, ()), (VALUE, ())) for _ in range(9)]
    assert all(kind == consts.MSG_REPLY for kind, _ in given)
    name, text = target.refusal(consts.HANDLE_CALLATTR, root, (VALUE, "thing"), (VALUE, ()), (VALUE, ()))
    assert name == "RuntimeError" and "10 objects" in text
    assert target.ask(consts.HANDLE_DEL, (LOCAL, given[0][1][1]), (VALUE, 1))[0] == consts.MSG_REPLY
    assert target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "thing"), (VALUE, ()), (VALUE, ()))[0] == consts.MSG_REPLY


@BOTH_ROLES
def test_open_requests_are_bounded(rig: Rig, role: str) -> None:
    """A peer that answers nothing can't make this side remember requests without end."""
    target = victim(rig, role, max_pending_requests=10)
    with pytest.raises(RuntimeError, match="more than 10 requests"):
        for _ in range(20):
            target.conn.async_request(consts.HANDLE_PING, "unanswered")


OWN = (REMOTE, ("builtins.list", 1, 77))
"""An object that the attacker claims to have: what the victim does with it comes back as a request."""

NESTING = {
    "hash": (consts.HANDLE_HASH, OWN),
    "repr": (consts.HANDLE_REPR, OWN),
    "getattr": (consts.HANDLE_GETATTR, OWN, (VALUE, "name")),
    "call": (consts.HANDLE_CALL, OWN, (VALUE, ()), (VALUE, ())),
    "callattr": (consts.HANDLE_CALLATTR, OWN, (VALUE, "append"), (VALUE, (1,)), (VALUE, ())),
}


@BOTH_ROLES
@pytest.mark.parametrize("how", NESTING)
def test_requests_that_nest_without_end(rig: Rig, role: str, how: str) -> None:
    """Each request makes the victim ask the attacker, who answers with the next request and never with a result.

    Used up the stack, which ended the process, after some 2,700 requests.
    """
    target = victim(rig, role, Things)
    handler, *arguments = NESTING[how]
    refused: list[bytes] = []
    for seq in range(1000):
        target.peer.send(b"\x01" + brine.dump((seq, (handler, (TUPLE, tuple(arguments))))))
        while not refused:
            message = target.peer.receive()
            assert message is not None
            if message[0] == consts.MSG_REQUEST:
                break
            refused.append(message)
        if refused:
            break
    seq, body = brine.load(refused[0][1:])
    assert refused[0][0] == consts.MSG_EXCEPTION and body[0] == ("builtins", "RecursionError"), body
    # Now the innermost one is answered, and all of them unwind.
    assert 20 < seq <= 501


@BOTH_ROLES
def test_the_configured_nesting(rig: Rig, role: str) -> None:
    """`max_nested_requests`, and the connection goes on once the nested requests have ended."""
    target = victim(rig, role, Things, max_nested_requests=5)
    handler, *arguments = NESTING["hash"]
    asked = []
    for seq in range(100, 105):
        target.peer.send(b"\x01" + brine.dump((seq, (handler, (TUPLE, tuple(arguments))))))
        asked.append(brine.load(target.peer.receive()[1:])[0])
    target.peer.send(b"\x01" + brine.dump((105, (handler, (TUPLE, tuple(arguments))))))
    kind, (seq, body) = (message := target.peer.receive())[0], brine.load(message[1:])
    assert (kind, seq, body[0][1]) == (consts.MSG_EXCEPTION, 105, "RecursionError") and "max_nested_requests" in body[1][0]
    for number in reversed(asked):
        target.peer.send(b"\x02" + brine.dump((number, (VALUE, 1))))
    answered = set()
    while len(answered) < 5:
        message = target.peer.receive()
        if message[0] == consts.MSG_REPLY:
            answered.add(brine.load(message[1:])[0])
    assert answered == set(range(100, 105))


@BOTH_ROLES
def test_endless_iterables(rig: Rig, role: str) -> None:
    """BUFFITER over something that never ends is bounded, whether it asks for a number of items or for all."""
    target = victim(rig, role, Things, max_buffered_items=100)
    root = target.root()
    _, (_, counter) = target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "forever"), (VALUE, ()), (VALUE, ()))
    kind, (label, items) = target.ask(consts.HANDLE_BUFFITER, (LOCAL, counter), (VALUE, 10**12))
    assert (kind, label, items) == (consts.MSG_REPLY, VALUE, tuple(range(100)))
    name, text = target.refusal(consts.HANDLE_BUFFITER, (LOCAL, counter), (VALUE, None))
    assert name == "ValueError" and "max_buffered_items" in text
    assert rpyc.DEFAULT_CONFIG["max_buffered_items"] == 1_000_000


@BOTH_ROLES
def test_proxies_of_dropped_answers_are_given_back(rig: Rig, role: str) -> None:
    """An answer under an unknown number is not decoded: no proxy, no class; its references go back one by one."""
    target = victim(rig, role)
    mine = ("hostile.Thing", 5, 77)
    carried = (TUPLE, ((REMOTE, mine), (VALUE, "x"), (TUPLE, ((REMOTE, mine),))))
    target.peer.send(b"\x02" + brine.dump((123456, carried)))
    for _ in range(2):
        handler, (_, (target_box, count)) = brine.load(target.peer.receive()[1:])[1]
        assert (handler, target_box, count) == (consts.HANDLE_DEL, (LOCAL, mine), (VALUE, 1))
    for undecoded in ((REMOTE, "no id pack"), 17, (99, ()), (LOCAL, ("x", 1, 2))):
        target.peer.send(b"\x02" + brine.dump((123456, undecoded)))
        target.peer.send(b"\x03" + brine.dump(("odd", undecoded)))
    target.peer.send(b"\x03" + brine.dump((123456, (("antigravity", "X"), (), (), ""))))
    assert target.is_well()
    assert len(target.conn._proxy_cache) == 0


@BOTH_ROLES
def test_what_was_not_sent_is_not_held(rig: Rig, role: str) -> None:
    """An answer or a request that can't be encoded to its end holds none of the objects before that point.

    Held them for ever, so a peer could fill the table by calling a method whose result can't travel.
    """

    class Broken(rpyc.Service):
        def exposed_some(self, *args: Any) -> Any:
            return [], (object(), b"x" * 100_000, [object()]), "\ud800"

    pair = rig.pair(Broken)
    root, exported = pair.client.root, pair.server._local_objects
    before = len(exported)
    for _ in range(3):
        with pytest.raises(UnicodeEncodeError):
            root.some() if role == "server" else root.some([], (object(), {}), "\ud800")
    eventually(lambda: len(exported) <= before + 1)
    assert len(pair.client._local_objects) == 0


@BOTH_ROLES
def test_slow_bytes_cost_no_objects(rig: Rig, role: str) -> None:
    """A payload that arrives in many pieces on a Python stream is one buffer, and arrives whole."""
    target = victim(rig, role, python_stream=True)
    payload = b"\x01" + brine.dump((0, (consts.HANDLE_PING, (VALUE, (b"y" * 3000,)))))
    for piece in itertools.batched(frame(payload), 7) if hasattr(itertools, "batched") else pieces(frame(payload), 7):
        target.peer.sock.sendall(bytes(piece))
    assert brine.load(target.peer.receive()[1:]) == (0, (VALUE, b"y" * 3000))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_wait_is_over(rig: Rig) -> None:
    """The other roles of this file leave a client waiting; it hears of the attacker's end."""
    target = victim(rig, "client")
    target.peer.sock.close()
    assert isinstance(error_of(target.waiting), EOFError)
    eventually(lambda: target.conn.closed)
