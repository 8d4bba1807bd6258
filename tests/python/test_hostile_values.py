"""Values that are chosen to be a trap: names, numbers, iterables and answers that are not what they look like.

Each attack is played against both roles, over the native path and (in another run) the Python one.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import socket
import threading
import time
from typing import Any

import pytest
from conftest import RawPeer, Rig, close_quietly, eventually, in_thread
from hostile import LOCAL, REMOTE, ROLES, TUPLE, VALUE, Victim, error_of, victim

import rpyc
from rpyc.core import brine, consts, netref, vinegar
from rpyc.core.stream import SocketStream

BOTH_ROLES = pytest.mark.parametrize("role", ROLES)

# Python hashes an int by its value modulo this number: so all its multiples have one hash.
MODULUS = (1 << 61) - 1


class Things(rpyc.Service):
    """Gives away what has no end, and takes anything."""

    _secret = "hunter2"

    def exposed_forever(self) -> Any:
        return itertools.count()

    def exposed_count(self, *args: Any, **kwargs: Any) -> int:
        return len(args) + len(kwargs)

    def exposed_generator(self) -> Any:
        yield 1

    def exposed_text(self) -> bytes:
        return bytes(100)


def converse(target: Victim, handler: int, *boxed: Any, answers: dict[int, Any]) -> tuple[int, Any]:
    """Send a request, answer what the victim asks meanwhile by handler, and return (message type, body)."""
    target.peer.send(b"\x01" + brine.dump((1000, (handler, (TUPLE, boxed)))))
    for _ in range(1000):
        message = target.peer.receive()
        assert message is not None, "the connection ended"
        seq, body = brine.load(message[1:])
        if message[0] != consts.MSG_REQUEST:
            assert seq == 1000
            return message[0], body
        target.peer.send(b"\x02" + brine.dump((seq, answers.get(body[0], (VALUE, None)))))
    raise AssertionError("the victim asks without end")


def forever(target: Victim) -> Any:
    """The boxed reference to an iterator without end."""
    _, (_, id_pack) = target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, "forever"), (VALUE, ()), (VALUE, ()))
    return LOCAL, id_pack


@BOTH_ROLES
@pytest.mark.parametrize("place", ["args", "kwargs", "everything", "slicing"])
def test_endless_arguments(rig: Rig, role: str, place: str) -> None:
    """What a request names as the arguments of a call may be any iterable, and may have no end."""
    target = victim(rig, role, Things, max_buffered_items=100)
    root, endless, none = target.root(), forever(target), (VALUE, ())
    if place == "everything":
        kind, body = target.peer.request(consts.HANDLE_CALL, endless)
    elif place == "slicing":
        names = (VALUE, "count"), (VALUE, "count")
        kind, body = target.ask(consts.HANDLE_OLDSLICING, root, *names, (VALUE, 0), (VALUE, 1), endless)
    else:
        given = (endless, none) if place == "args" else (none, endless)
        kind, body = target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "count"), *given)
    assert (kind, body[0]) == (consts.MSG_EXCEPTION, ("builtins", "ValueError")) and "max_buffered_items" in body[1][0]
    assert target.is_well()


@BOTH_ROLES
def test_a_number_that_is_a_proxy(rig: Rig, role: str) -> None:
    """BUFFITER was bounded by comparing; a proxy says that it is small, and then turns into a large number."""
    target = victim(rig, role, Things, max_buffered_items=100)
    endless, liar = forever(target), (REMOTE, ("builtins.int", 5, 6))
    answers = {consts.HANDLE_CMP: (VALUE, False), consts.HANDLE_CALLATTR: (VALUE, 10**6)}
    kind, body = converse(target, consts.HANDLE_BUFFITER, endless, liar, answers=answers)
    assert (kind, body[0][1]) == (consts.MSG_EXCEPTION, "ValueError"), body
    for number in (-1, 1.5, "1", True):
        kind, _ = converse(target, consts.HANDLE_BUFFITER, endless, (VALUE, number), answers={})
        assert kind == (consts.MSG_REPLY if number is True else consts.MSG_EXCEPTION)


@BOTH_ROLES
def test_numbers_with_one_hash(rig: Rig, role: str) -> None:
    """Sets and dicts of them take time in proportion to the square of their number, with the interpreter held."""
    alike = tuple(MODULUS * number for number in range(1, 20_000))
    target = victim(rig, role, Things)
    kind, body = target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, "count"), (VALUE, ()), (VALUE, tuple((number, 1) for number in alike)))
    assert (kind, body[0][1], body[1]) == (consts.MSG_EXCEPTION, "TypeError", ("keywords must be strings",))
    packed = brine.TAG_FSET + brine.dump(alike)
    with pytest.raises(ValueError, match="have one hash"):
        brine.load(packed)
    target.peer.send(b"\x01" + brine.dump((0, (consts.HANDLE_PING, (VALUE, (frozenset([1]),)))))[:-3] + packed)
    assert "have one hash" in str(error_of(target.waiting))


def test_honest_sets_arrive() -> None:
    """The other half: many items, and some that happen to have one hash."""
    for honest in (frozenset(range(5000)), frozenset(MODULUS * number for number in range(100)), frozenset(map(str, range(500)))):
        assert brine.load(brine.dump(honest)) == honest


@BOTH_ROLES
def test_a_name_of_many_dots(rig: Rig, role: str) -> None:
    """A proxy's class is looked for in the longest prefix that is a module. A megabyte of dots took minutes."""
    target = victim(rig, role)
    began = time.process_time()
    for name in ("." * 1_000_000, "a" * 1_000_000, "sys." * 100_000, "a.\0", ""):
        kind, body = converse(target, consts.HANDLE_STR, (REMOTE, (name, 5, 6)), answers={consts.HANDLE_INSPECT: (VALUE, ()), consts.HANDLE_STR: (VALUE, "shown")})
        assert (kind, body) == (consts.MSG_REPLY, (VALUE, "shown"))
    assert time.process_time() - began < 20


@BOTH_ROLES
@pytest.mark.parametrize("answer", [(REMOTE, ("builtins.list_iterator", 5, 7)), (TUPLE, ((REMOTE, ("builtins.list", 5, 8)),)), (VALUE, 5)])
def test_methods_without_end(rig: Rig, role: str, answer: Any) -> None:
    """What methods a class has must be told by value: a proxy in its place has items for ever."""
    target = victim(rig, role)
    kind, body = converse(target, consts.HANDLE_STR, (REMOTE, ("x.Y", 5, 6)), answers={consts.HANDLE_INSPECT: answer})
    assert (kind, body[0][1]) == (consts.MSG_EXCEPTION, "TypeError") and "INSPECT" in body[1][0]


@BOTH_ROLES
def test_methods_that_are_the_types(rig: Rig, role: str) -> None:
    """Names that `type` keeps for itself, or that run code when a class is made, are no obstacle and no way in."""
    target = victim(rig, role)
    names = ("__classcell__", "__qualname__", "__init_subclass__", "__set_name__", "__slots__", "__del__", "__new__", "mro", "a\0b", "__get__")
    methods = tuple((name, None) for name in names)
    answers = {consts.HANDLE_INSPECT: (VALUE, methods), consts.HANDLE_STR: (VALUE, "shown")}
    assert converse(target, consts.HANDLE_STR, (REMOTE, ("x.Odd", 5, 6)), answers=answers) == (consts.MSG_REPLY, (VALUE, "shown"))


@BOTH_ROLES
def test_names_are_not_kept(rig: Rig, role: str) -> None:
    """Classes of proxies are kept for the next connection, but not if a peer gave them huge names."""
    before = set(netref._known_classes)
    target = victim(rig, role)
    for number in range(5):
        answers = {consts.HANDLE_INSPECT: (VALUE, ())}
        converse(target, consts.HANDLE_STR, (REMOTE, (f"{number}" + "n" * 1_000_000, number + 1, 6)), answers=answers)
    kept = [name for name, _ in set(netref._known_classes) - before]
    assert sum(map(len, kept)) < 100_000


@BOTH_ROLES
@pytest.mark.parametrize("strict", [False, True])
def test_texts_with_fields(rig: Rig, role: str, strict: bool) -> None:
    """A text of the peer's own reads any attribute of what it is to format: so no policy lets it."""
    target = victim(rig, role, Things, **{**(rpyc.STRICT if strict else {}), "allow_public_attrs": True})
    for name in ("format", "format_map"):
        refused, text = target.refusal(consts.HANDLE_CALLATTR, (VALUE, "{0._secret}"), (VALUE, name), (TUPLE, (target.root(),)))
        assert refused == "AttributeError" and "hunter2" not in text
        assert target.refusal(consts.HANDLE_GETATTR, (VALUE, ""), (VALUE, name))[0] == "AttributeError"
    assert target.ask(consts.HANDLE_CALLATTR, (VALUE, "a"), (VALUE, "upper"), (VALUE, ())) == (consts.MSG_REPLY, (VALUE, "A"))


@BOTH_ROLES
def test_frames(rig: Rig, role: str) -> None:
    """A generator has its frame, and that all globals and builtins: public names that are the way to everything."""
    target = victim(rig, role, Things, allow_public_attrs=True)
    _, (_, generator) = target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, "generator"), (VALUE, ()), (VALUE, ()))
    refused, text = target.refusal(consts.HANDLE_GETATTR, (LOCAL, generator), (VALUE, "gi_frame"))
    assert refused == "AttributeError" and "gi_frame" in text


@BOTH_ROLES
def test_one_batch_of_very_many_calls(rig: Rig, role: str) -> None:
    """Its answer leaves in one piece: a small request must not make one of any size."""
    target = victim(rig, role, Things)
    call = (TUPLE, (target.root(), (VALUE, ()), (VALUE, ()), (VALUE, "text")))
    kind, body = target.ask(consts.HANDLE_BATCH, *[call] * 2001)
    assert (kind, body[0][1]) == (consts.MSG_EXCEPTION, "ValueError") and "2000" in body[1][0]
    kind, (_, (results, failures)) = target.ask(consts.HANDLE_BATCH, *[call] * 2000)
    assert (kind, len(results), failures) == (consts.MSG_REPLY, 2000, ())


def test_batches_of_many_threads(rig: Rig) -> None:
    """The other half: however many calls threads collect at once, each message has no more than a peer takes."""
    pair = rig.pair(Things)
    count = pair.client.root.count
    count()
    with pair.client.batch() as batch:
        barrier = threading.Barrier(4)

        def collect() -> list[Any]:
            barrier.wait(10)
            return [batch(count, number) for number in range(3000)]

        results = [result for future in [in_thread(collect) for _ in range(4)] for result in future.result(30)]
    assert sum(result.value for result in results) == 12_000


@BOTH_ROLES
def test_ctrl_c_by_a_context_manager(rig: Rig, role: str) -> None:
    """CTXEXIT raises the class that the peer names, within the context manager. The connection is all that it ends."""

    class Manager:
        def __enter__(self) -> Manager:
            return self

        def __exit__(self, typ: Any, *_: Any) -> None:
            raise typ

    class Managing(rpyc.Service):
        exposed_manager = Manager()

    target = victim(rig, role, Managing)
    _, (_, manager) = target.ask(consts.HANDLE_GETATTR, target.root(), (VALUE, "manager"))
    answers = {consts.HANDLE_INSPECT: (VALUE, ()), consts.HANDLE_CALLATTR: (VALUE, True)}
    kind, body = converse(target, consts.HANDLE_CTXEXIT, (LOCAL, manager), (REMOTE, ("builtins.SystemExit", 5, 0)), answers=answers)
    assert (kind, body[0][1]) == (consts.MSG_EXCEPTION, "SystemExit")
    # Its class is known from before, or is asked for again.
    target.peer.send(b"\x01" + brine.dump((2000, (consts.HANDLE_CTXEXIT, (TUPLE, ((LOCAL, manager), (REMOTE, ("builtins.KeyboardInterrupt", 5, 0))))))))
    with contextlib.suppress(OSError):
        for seq in range(10):
            target.peer.send(b"\x02" + brine.dump((seq, (VALUE, ()))))
    assert isinstance(error_of(target.waiting), KeyboardInterrupt)


@BOTH_ROLES
def test_counts_that_don_t_add_up(rig: Rig, role: str) -> None:
    """Releases of too many references, of negative numbers of them, and of strangers'."""
    target = victim(rig, role, Things)
    label, id_pack = forever(target)
    for count in (-(1 << 63), -1, 0, 1 << 62, 10**30, 1.5, None, "x"):
        target.ask(consts.HANDLE_DEL, (label, id_pack), (VALUE, count))
        target.ask(consts.HANDLE_DEL, (LOCAL, ("x.Y", 1, 1)), (VALUE, count))
    assert target.is_well()
    target.peer.close()
    with contextlib.suppress(Exception):
        target.waiting.result(10)
    eventually(lambda: gc.collect() is not None and not len(target.conn._local_objects))


def hostile_server(rig: Rig, answers: dict[int, Any]) -> Any:
    """A connection of ours to a server that gives these answers, by handler; the root is an iterator of its."""
    mine, theirs = socket.socketpair()
    peer = RawPeer(mine)

    def serve() -> None:
        while (message := peer.receive()) is not None:
            seq, (handler, args) = brine.load(message[1:])
            answer = ENDLESS if handler == consts.HANDLE_GETROOT else answers.get(handler, (VALUE, 1))
            if handler == consts.HANDLE_CALLATTR and args[1][1] == (VALUE, "__iter__"):
                answer = ENDLESS
            peer.send(b"\x02" + brine.dump((seq, answer)))

    serving = in_thread(serve)
    conn = rpyc.connect_stream(SocketStream(theirs), rpyc.VoidService, {"sync_request_timeout": 20})

    def end() -> None:
        mine.shutdown(socket.SHUT_RDWR)
        serving.exception(10)
        mine.close()
        close_quietly(conn)

    rig.on_end(end)
    return conn


ENDLESS = (REMOTE, ("builtins.list_iterator", 5, 77))


def test_names_of_attributes_without_end(rig: Rig) -> None:
    """`dir` of a proxy is a tuple of names, not whatever can be iterated over."""
    conn = hostile_server(rig, {consts.HANDLE_DIR: ENDLESS})
    with pytest.raises(TypeError, match="DIR"):
        dir(conn.root)


@pytest.mark.parametrize("answer", [
    ENDLESS, (VALUE, 5), (VALUE, ((1,),)), (TUPLE, (ENDLESS, (VALUE, ()))), (TUPLE, ((VALUE, ()), ENDLESS)),
    (VALUE, ((1,), (5,))), (VALUE, ((1,), (-1,))), (VALUE, ((1,), ("0",))), (VALUE, ((1,), (0,))), (VALUE, (((),), (0,))),
])  # fmt: skip
def test_answers_to_a_batch(rig: Rig, answer: Any) -> None:
    """Whatever a peer answers to a batch, each call gets a result or an error."""
    conn = hostile_server(rig, {consts.HANDLE_FEATURES: (VALUE, ("batch",)), consts.HANDLE_BATCH: answer})
    with conn.batch() as batch:
        results = [batch(conn.root, number) for number in range(2)]
    for result in results:
        with pytest.raises((TypeError, ValueError, EOFError, StopIteration)):
            raise AssertionError(result.value)


def test_names_are_shown_without_line_ends(rig: Rig) -> None:
    """A class may be called anything by a peer; what is shown of it can't begin a line of a log, nor move a cursor."""
    evil = "a\n2026-01-01 INFO all is well\x1b[2J\u202e\0"
    conn = hostile_server(rig, {consts.HANDLE_INSPECT: (VALUE, ()), consts.HANDLE_CALL: (REMOTE, (evil, 6, 7))})
    shown = repr(type(conn.root()))
    assert shown.isprintable() and "all is well" in shown
    error = vinegar.load(((evil, "b\nc"), (), (), ""), False, False, False)
    assert type(error).__name__.isprintable() and type(error).__module__.isprintable()


class Broker(rpyc.Service):
    """Passes things on from one client to another."""

    def __init__(self, kept: list[Any]) -> None:
        self._kept = kept

    def exposed_put(self, thing: Any) -> None:
        self._kept.append(thing)

    def exposed_take(self) -> Any:
        return self._kept[0]

    def exposed_own(self) -> type:
        return Things

    def exposed_ask(self, cls: Any) -> bool:
        return cls is Things


def test_a_class_under_the_id_of_another_one(rig: Rig) -> None:
    """A client passes a class of its own on, under the id of one of the server's: what others call was the attacker's."""
    kept: list[Any] = []
    attacker, other = (victim(rig, "server", Broker(kept)) for _ in range(2))
    _, (_, own) = attacker.ask(consts.HANDLE_CALLATTR, attacker.root(), (VALUE, "own"), (VALUE, ()), (VALUE, ()))
    attacker.peer.send(b"\x01" + brine.dump((50, (consts.HANDLE_CALLATTR, (TUPLE, (attacker.root(), (VALUE, "put"), (TUPLE, ((REMOTE, own),))))))))
    assert (question := brine.load(attacker.peer.receive()[1:]))[1][0] == consts.HANDLE_INSPECT
    attacker.peer.send(b"\x02" + brine.dump((question[0], (VALUE, (("__call__", None),)))))
    assert attacker.peer.receive()[0] == consts.MSG_REPLY
    _, (_, taken) = other.ask(consts.HANDLE_CALLATTR, other.root(), (VALUE, "take"), (VALUE, ()))
    _, (_, given) = other.ask(consts.HANDLE_CALLATTR, other.root(), (VALUE, "own"), (VALUE, ()))
    assert (taken[0], taken[2]) == (given[0], given[2]) == (own[0], 0) and taken != given
    assert other.ask(consts.HANDLE_CALLATTR, other.root(), (VALUE, "ask"), (TUPLE, ((LOCAL, given),))) == (consts.MSG_REPLY, (VALUE, True))
    assert other.ask(consts.HANDLE_CALLATTR, other.root(), (VALUE, "ask"), (TUPLE, ((LOCAL, taken),))) == (consts.MSG_REPLY, (VALUE, False))
    kept.clear()
