"""Any bytes, any values: the extension, a connection and the registry refuse or answer, and go on.

Hypothesis chooses them, the same ones in each run; `RPYC_FUZZ_ROUNDS` asks for more of them, and for others each time.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import rpyc
from rpyc.core import brine, consts, vinegar
from rpyc.utils.registry import UDPRegistryClient, UDPRegistryServer

ROUNDS = int(os.environ.get("RPYC_FUZZ_ROUNDS", "0"))
COMMON = settings(
    max_examples=ROUNDS or 80,
    derandomize=not ROUNDS,
    database=None,
    deadline=None,
    # A loaded machine is slow.
    suppress_health_check=[HealthCheck.too_slow],
)
# A malformed message ends the thread that serves its connection, with the error: as it does with RPyC.
ENDS_SERVING = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "vectors.json").read_text())
ENCODED = [bytes.fromhex(each["hex"]) for each in VECTORS["brine"]["valid"] if "hex" in each]
DATAGRAMS = [bytes.fromhex(each["request_hex"]) for each in VECTORS["registry"]]

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.binary() | st.text()
    | st.just(NotImplemented) | st.just(...)
)
plain = st.recursive(
    # Before Python 3.12 a slice can't be in a set, nor what holds one.
    scalars | st.frozensets(scalars, max_size=4),
    lambda items: st.tuples(items) | st.lists(items, max_size=6).map(tuple) | st.builds(slice, items, items, items),
    max_leaves=12,
)
# Names that RPyC uses, and things of Python's that nobody should reach.
names = st.sampled_from([
    "same", "exposed_same", "get_root", "__class__", "__dict__", "__reduce_ex__", "__init__", "_conn", "a" * 300, "\0", ""
])
ids = st.tuples(names | st.just("builtins.function"), st.integers(-1, 5), st.integers(-1, 5) | st.integers())
boxed = st.recursive(
    st.tuples(st.just(1), plain) | st.tuples(st.sampled_from([3, 4]), ids) | st.tuples(st.just(1), names)
    | st.tuples(st.integers(-1, 9), plain),
    lambda items: st.tuples(st.just(2), st.lists(items, max_size=4).map(tuple)),
    max_leaves=8,
)


@st.composite
def mutated(draw: Any, originals: list[bytes]) -> bytes:
    """Bytes that are almost right."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


class Service(rpyc.Service):
    """Something to ask for."""

    def exposed_same(self, value: Any) -> Any:
        return value


def alike(value: Any) -> str:
    """A text that is the same for values that came out alike: NaNs are not equal, nor are sets ordered."""
    if type(value) is frozenset:
        return f"set{sorted(map(alike, value))}"
    if type(value) is tuple:
        return f"({','.join(map(alike, value))})"
    if type(value) is slice:
        return f"slice{alike((value.start, value.stop, value.step))}"
    return f"{type(value).__name__} {value!r}"


@COMMON
@given(plain)
def test_values_come_back(value: Any) -> None:
    """Whatever can be dumped is loaded as the same."""
    try:
        data = brine.dump(value)
    except (ValueError, TypeError):
        # Texts with lone surrogates and the like.
        return
    assert alike(brine.load(data)) == alike(value)


@COMMON
@given(mutated(ENCODED) | st.binary(max_size=200))
def test_any_bytes_are_loaded_or_refused(data: bytes) -> None:
    """One kind of error; and what was loaded is a plain value."""
    try:
        value = brine.load(data)
    except (ValueError, RecursionError, TypeError):
        # TypeError: what Python can't have in a set.
        return
    assert brine.dumpable(value)
    assert alike(brine.load(brine.dump(value))) == alike(value)


@ENDS_SERVING
def test_any_requests_are_answered(rig: Rig) -> None:
    """Each request gets a reply or an exception, or the connection ends; then the next peer is served."""
    server = rig.serve(Service(), unix=True)

    @COMMON
    @given(st.lists(st.tuples(st.integers(-2, 30) | plain, boxed), min_size=1, max_size=4))
    def ask(requests: list[tuple[Any, Any]]) -> None:
        peer = rig.raw_client(server)
        for seq, request in enumerate(requests):
            try:
                message = b"\x01" + brine.dump((seq, request))
            except (ValueError, TypeError):
                # What even this end can't encode.
                continue
            try:
                peer.send(message)
                answer = peer.receive()
            except (BrokenPipeError, ConnectionResetError):
                break
            # It has hung up; or it asks about an object that it was told of, and there is none.
            if answer is None or answer[0] == consts.MSG_REQUEST:
                break
            assert answer[0] in (consts.MSG_REPLY, consts.MSG_EXCEPTION)
            assert brine.load(answer[1:])[0] == seq
        peer.close()

    ask()
    assert rig.connect(server).root.same(1) == 1


@ENDS_SERVING
def test_any_message_is_survived(rig: Rig) -> None:
    """Whatever a frame holds, its connection goes on or ends, and the next peer is served."""
    server = rig.serve(Service(), unix=True)

    @COMMON
    @given(st.binary(max_size=300) | mutated([b"\x01" + data for data in ENCODED]))
    def tell(payload: bytes) -> None:
        peer = rig.raw_client(server)
        peer.send(payload)
        peer.sock.shutdown(socket.SHUT_WR)
        while peer.receive() is not None:
            pass
        peer.close()

    tell()
    assert rig.connect(server).root.same(1) == 1


@COMMON
@given(plain | st.tuples(st.tuples(names, names | st.text()), plain, plain, plain))
@example((("builtins", "ValueError"), (), (("__class__", 5), ("__traceback__", 1), ("args", 3)), "text"))
@example((("builtins", "SystemExit"), (1,), (), "text"))
@example((("builtins", "UnicodeDecodeError"), (1, 2), (), "text"))
@pytest.mark.parametrize("custom", [False, True])
def test_any_exception_payload_becomes_an_exception(custom: bool, payload: Any) -> None:
    """A peer chooses what it says was raised: it is raised, or refused with an exception."""
    try:
        loaded = vinegar.load(payload, custom, custom, custom)
    except Exception:
        return
    assert isinstance(loaded, (BaseException, str)) or issubclass(loaded, BaseException)
    if isinstance(loaded, BaseException):
        assert str(loaded) is not None
        assert repr(loaded) is not None


def test_any_datagrams_leave_the_registry_working(leak_check: None) -> None:
    """Rubbish, and almost good requests: the next good one is answered."""
    server = UDPRegistryServer(host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.start)
    thread.start()
    eventually(lambda: server.active)
    client = UDPRegistryClient("127.0.0.1", server.port, timeout=PATIENCE)
    commands = st.sampled_from(["QUERY", "REGISTER", "UNREGISTER", "LIST", "__init__", "close", ""])
    requests = st.tuples(st.just("RPYC") | st.text(), commands | plain, st.tuples(plain, plain) | plain)

    @COMMON
    @given(mutated(DATAGRAMS) | st.binary(max_size=100) | requests)
    def send(datagram: Any) -> None:
        if not isinstance(datagram, bytes):
            try:
                datagram = brine.dump(datagram)
            except (ValueError, TypeError):
                return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(datagram[:60_000], ("127.0.0.1", server.port))

    try:
        send()
        assert client.register(("good",), 12345, "127.0.0.1")
        assert ("127.0.0.1", 12345) in client.discover("good")
    finally:
        server.close()
        thread.join(PATIENCE)
    assert not thread.is_alive()
