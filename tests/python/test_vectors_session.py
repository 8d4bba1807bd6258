"""Recorded conversations, played again: the requests of the recording are sent to a connection of ours, frame by frame,
and its answers are compared with the recorded ones.

Object ids, thread ids and memory addresses differ from run to run. So wherever a recorded answer hands out a
reference, the id pack that comes instead is noted, and later requests are sent with it in place of the recorded one.
Two kinds of request go the other way and are answered whenever they come, because a peer is free in when it sends
them: releases, and questions about the methods of an object. Everything else must come as recorded.

Intended differences, which the comparison allows for:

* exceptions carry no `add_note` attribute;
* the text of a TypeError about a wrong number of arguments is Python's, and names other functions;
* the text of a refused attribute may go on after the recorded words;
* a context manager that is left by an exception may be told the right one (6.0.2 always tells it TypeError);
* a service may have more methods than 6.0.2's has.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import RawPeer, Rig

import rpyc
from rpyc.core import brine, consts

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vectors.json").read_text())
SESSIONS = {session["name"]: session for session in VECTORS["sessions"]}

REQUEST, REPLY, EXCEPTION = consts.MSG_REQUEST, consts.MSG_REPLY, consts.MSG_EXCEPTION
SAME_PYTHON = VECTORS["meta"]["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]
# Texts of errors that Python words itself, and that name the function that was called.
WORDED_BY_PYTHON = re.compile(r"positional argument|after \*")


# The recorded server, rebuilt. Its classes must carry the recorded names.


class CustomError(Exception):
    __module__ = "__main__"

    def __init__(self, code: int, items: Any) -> None:
        super().__init__(code, items)
        self.code, self.items = code, items


class Point:
    """a point"""

    __module__ = "__main__"
    exposed_label = "pt"

    def __init__(self, x: Any, y: Any) -> None:
        self.exposed_x, self.y = x, y

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: Any) -> Any:
        return (self.exposed_x, self.y)[i]

    def __add__(self, other: Any) -> Any:
        return ("sum", self.exposed_x, other)

    def __eq__(self, other: object) -> bool:
        return other == "same"

    def __hash__(self) -> int:
        return 4242

    def __repr__(self) -> str:
        return "Point-repr"

    def __str__(self) -> str:
        return "Point-str"

    def __call__(self, *a: Any, **k: Any) -> Any:
        return a, tuple(sorted(k.items()))

    def __enter__(self) -> str:
        return "entered"

    def __exit__(self, t: Any, v: Any, tb: Any) -> Any:
        self.exposed_seen = "none" if t is None else t.__name__
        return False

    def __contains__(self, v: Any) -> bool:
        return bool(v == 1)

    def exposed_move(self, dx: Any, dy: Any = 0) -> Any:
        return (self.exposed_x + dx, self.y + dy)


class SampleService(rpyc.Service):
    __module__ = "__main__"
    ALIASES = ["sample", "alias2"]

    def exposed_point(self, x: Any = 1, y: Any = 2) -> Any:
        return Point(x, y)

    def exposed_cls(self) -> Any:
        return Point

    def exposed_echo(self, *args: Any, **kwargs: Any) -> Any:
        return args, tuple(sorted(kwargs.items()))

    def exposed_same(self, obj: Any) -> Any:
        return obj

    def exposed_pairof(self, obj: Any) -> Any:
        return (obj, obj, 1)

    def exposed_callback(self, f: Any, *args: Any) -> Any:
        return ("got", f(*args))

    def exposed_nested(self, f: Any, depth: int) -> Any:
        return f(self.exposed_nested, depth - 1) if depth else "bottom"

    def exposed_list(self) -> Any:
        return [10, 20, 30]

    def exposed_gen(self, n: int) -> Any:
        return iter(range(n))

    def exposed_builtin_error(self) -> None:
        raise ValueError("bad value", 7)

    def exposed_custom_error(self) -> None:
        raise CustomError(3, [1, 2])

    def exposed_key_error(self) -> Any:
        table: dict[str, Any] = {}
        return table["missing"]

    def exposed_os_error(self) -> None:
        raise FileNotFoundError(2, "No such thing", "a-file")

    def exposed_stop(self) -> None:
        raise StopIteration("payload is lost")

    def exposed_boom_in_callback(self, f: Any) -> Any:
        return f()

    def exposed_big(self, n: int) -> str:
        return "x" * n

    def exposed_func(self) -> Any:
        def sample_function(a: Any, b: Any = 2) -> Any:
            return a + b

        return sample_function

    def exposed_module(self, name: str) -> Any:
        return __import__(name)

    def exposed_isinst(self, obj: Any, cls: Any) -> bool:
        return isinstance(obj, cls)


# In the recording both ends were symmetric. Played alone, the server must not wait for a namespace of ours.
PlayedSlave = type("ClassicService", (rpyc.SlaveService,), {"__module__": "rpyc.core.service"})


# Sessions


@pytest.mark.parametrize("name", SESSIONS)
def test_session(rig: Rig, name: str) -> None:
    """The whole conversation, answer by answer."""
    session = SESSIONS[name]
    service = PlayedSlave if name == "classic" else SampleService
    if name == "classic" and not SAME_PYTHON:
        pytest.skip("the recording teleports byte code of Python 3.11, which no other version runs")
    bound = name == "bind_threads"
    Replay(rig.raw(service, dict(session["server_config"]), thread_ids=bound)).play(session["frames"])


def test_compressed_frames_are_in_the_recording() -> None:
    """The sessions hold what the replay is meant to cover."""
    frames = [frame for session in SESSIONS.values() for frame in session["frames"]]
    assert any(frame["compressed"] and frame["dir"] == way for frame in frames for way in ("c2s", "s2c"))
    assert {frame.get("handler_name") for frame in frames} >= {
        "ping", "close", "getroot", "getattr", "delattr", "setattr", "call", "callattr", "repr", "str", "cmp", "hash", "dir",
        "pickle", "del", "inspect", "buffiter", "ctxexit", "instancecheck",
    }


class Replay:
    """One recorded conversation with a live connection. See the module's text."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._names = Names()
        # What came and has not been asked for yet: answers by sequence number, requests in order.
        self._answers: dict[Any, tuple[int, Any]] = {}
        self._requests: list[tuple[Any, Any, int]] = []
        self._inspected: dict[Any, Any] = {}
        # Recorded sequence number of a request of the server's -> (sequence number, thread) of the live one.
        self._asked: dict[Any, tuple[Any, int]] = {}
        # The client's recorded thread of the moment, and all that the server may address; 0 is any.
        self._thread = 0
        self._threads = {0}

    def play(self, frames: list[dict[str, Any]]) -> None:
        """Send what the client sent, and check what the server answers."""
        asked = {frame["seq"]: frame for frame in frames if (frame["dir"], frame["msg"]) == ("s2c", "request")}
        for frame in frames:
            if frame["dir"] == "c2s" and frame["msg"] == "reply" and asked[frame["seq"]]["handler_name"] == "inspect":
                about = payload_of(asked[frame["seq"]], self._peer.thread_ids)[1][1][1][0]
                self._inspected[about] = payload_of(frame, self._peer.thread_ids)[1]
        for frame in frames:
            try:
                self._play_one(frame)
            except AssertionError as error:
                raise AssertionError(f"frame {frame['n']}, {frame['step']}: {error}") from error
        while self._read() is not None:
            pass

    def _play_one(self, frame: dict[str, Any]) -> None:
        if "frame_hex" not in frame:
            # Recorded by length only: the answer has to come, whatever is in it.
            self._await_answer(frame["seq"])
            return
        if frame["dir"] == "c2s":
            self._thread = frame.get("thread_ids", [0])[0]
            self._threads.add(self._thread)
            if frame["msg"] == "request":
                if frame["step"] == "close" and frame["handler_name"] == "del":
                    return
                sequence, body = payload_of(frame, self._peer.thread_ids)
                self._send(REQUEST, sequence, self._names.live(body))
            elif frame["seq"] in self._asked:
                sequence, thread = self._asked.pop(frame["seq"])
                kind = REPLY if frame["msg"] == "reply" else EXCEPTION
                self._send(kind, sequence, self._names.live(payload_of(frame, self._peer.thread_ids)[1]), thread)
        elif frame["msg"] == "request":
            if frame["step"] != "connect" and frame["handler_name"] not in ("del", "inspect"):
                recorded = payload_of(frame, self._peer.thread_ids)[1]
                sequence, body, thread = self._await_request()
                self._names.compare(recorded, body)
                self._asked[frame["seq"]] = sequence, thread
        else:
            self._check_answer(frame)

    def _check_answer(self, frame: dict[str, Any]) -> None:
        sequence, recorded = payload_of(frame, self._peer.thread_ids)
        kind, body = self._await_answer(sequence)
        if "what __exit__ saw" in frame["step"] and recorded == (1, "TypeError"):
            assert kind == REPLY and body[0] == 1 and isinstance(body[1], str)
        elif frame["msg"] == "exception":
            assert kind == EXCEPTION, body
            compare_exceptions(self._names, recorded, body)
        else:
            assert kind == REPLY, body
            if frame["step"] == "dir" and not SAME_PYTHON:
                # Other versions have other methods on every object.
                assert set(recorded[1]) & set(body[1])
            elif is_inspection(recorded):
                compare_inspections(recorded[1], body[1], service="Service" in frame["step"] or frame["seq"] < 3)
            else:
                self._names.compare(recorded, body)

    def _send(self, kind: int, sequence: Any, body: Any, thread: int = 0) -> None:
        prefix = struct.pack("!QQ", self._thread, thread) if self._peer.thread_ids else b""
        self._peer.send(prefix + bytes([kind]) + brine.dump((sequence, body)))

    def _await_answer(self, sequence: Any) -> tuple[int, Any]:
        while sequence not in self._answers:
            assert self._read() is not None, f"the stream ended before the answer to request {sequence!r}"
        return self._answers.pop(sequence)

    def _await_request(self) -> tuple[Any, Any, int]:
        while not self._requests:
            assert self._read() is not None, "the stream ended before a request"
        return self._requests.pop(0)

    def _read(self) -> int | None:
        """Take one frame in; the message type, or None at the end of the stream."""
        payload = self._peer.receive()
        if payload is None:
            return None
        thread = 0
        if self._peer.thread_ids:
            thread, addressed = struct.unpack("!QQ", payload[:16])
            payload = payload[16:]
            assert addressed in self._threads
        kind = payload[0]
        sequence, body = brine.load(payload[1:])
        if kind != REQUEST:
            self._answers[sequence] = kind, body
        elif body[0] == consts.HANDLE_DEL:
            # It may be the last thing that a closing peer has said.
            with contextlib.suppress(ConnectionError):
                self._send(REPLY, sequence, (1, None), thread)
        elif body[0] == consts.HANDLE_INSPECT:
            self._send(REPLY, sequence, self._inspected.get(body[1][1][0], (1, ())), thread)
        else:
            self._requests.append((sequence, body, thread))
        return kind


# Single requests


def test_single_requests(rig: Rig) -> None:
    """One request for each handler, and the ways in which it may be refused."""
    denied = {"include_local_traceback": False}
    peer, names = rig.raw(SampleService, dict(denied)), Names()
    for entry in VECTORS["handlers"]["requests"]:
        if "allow_pickle on" in entry["note"]:
            peer, names = rig.raw(SampleService, dict(denied, allow_pickle=True)), Names()
        sequence, body = brine.load(bytes.fromhex(entry["request_hex"])[1:])
        peer.send(b"\x01" + brine.dump((sequence, names.live(body))))
        payload = peer.receive()
        if entry["response"] == "end of stream":
            assert payload is None, entry["note"]
            continue
        assert payload is not None, entry["note"]
        answered, answer = brine.load(payload[1:])
        recorded = brine.load(bytes.fromhex(entry["response_hex"])[1:])[1] if "response_hex" in entry else None
        assert answered == sequence
        try:
            assert payload[0] == (REPLY if entry["response_msg"] == "reply" else EXCEPTION), answer
            if payload[0] == EXCEPTION:
                compare_exceptions(names, recorded, answer)
            elif entry["handler_name"] == "inspect":
                compare_inspections(eval(entry["response"])[1][1], answer[1], service=False)
            elif entry["handler_name"] != "dir":
                names.compare(recorded, answer)
            elif SAME_PYTHON:
                assert answer == recorded
        except AssertionError as error:
            raise AssertionError(f"{entry['note']}: {error}") from error


def test_tolerated_messages(rig: Rig) -> None:
    """What nobody waits for is dropped, and any sequence number is echoed."""
    peer = rig.raw(SampleService)
    for entry in VECTORS["handlers"]["tolerated"]:
        if "payload_hex" in entry:
            peer.send(bytes.fromhex(entry["payload_hex"]))
            kind, _, answer = eval(entry["ping_answer"])
            assert peer.request(consts.HANDLE_PING, (1, ("p",))) == (kind, answer), entry["note"]
        else:
            sequence = eval(entry["seq"])
            peer.send(b"\x01" + brine.dump((sequence, (consts.HANDLE_PING, (1, ("p",))))))
            payload = peer.receive()
            assert payload is not None
            assert (payload[0], *brine.load(payload[1:])) == eval(entry["answer"]), entry["note"]


@pytest.mark.parametrize("entry", VECTORS["handlers"]["fatal_messages"], ids=lambda entry: entry["note"].replace(" ", "-"))
def test_fatal_messages(rig: Rig, entry: dict[str, Any]) -> None:
    """The connection is ended: with the recorded close request first, or at once.

    Intended difference: an answer that nobody waits for may also be dropped unseen, whatever is wrong with it.
    """
    peer = rig.raw(SampleService, {"sync_request_timeout": 0.3})
    assert peer.request(consts.HANDLE_GETROOT)[0] == REPLY
    peer.send(bytes.fromhex(entry["payload_hex"]))
    unasked = "reply" in entry["note"]
    if unasked:
        peer.send(b"\x01" + brine.dump(("next", (consts.HANDLE_PING, (1, ("p",))))))
    closing = False
    while (payload := peer.receive()) is not None:
        if unasked and payload[0] == REPLY:
            assert brine.load(payload[1:]) == ("next", (1, "p"))
            if not closing:
                return
        else:
            assert payload.hex() == entry["then_peer_sends"] and not closing
            closing = True
    with pytest.raises(Exception):  # noqa: B017, PT011
        # The serving loop's error is 6.0.2's, or a clearer one.
        peer.served()
    assert peer.conn.closed


# Comparison


class Names:
    """Which live id pack stands for which recorded one."""

    def __init__(self) -> None:
        self._live: dict[Any, Any] = {}

    def live(self, recorded: Any) -> Any:
        """The value with every known recorded id pack replaced."""
        if is_id_pack(recorded):
            return self._live.get(recorded, recorded)
        return tuple(map(self.live, recorded)) if type(recorded) is tuple else recorded

    def compare(self, recorded: Any, live: Any) -> None:
        """Assert that they agree, and learn the id packs of references that are handed out."""
        assert type(recorded) is type(live), (recorded, live)
        if is_reference(recorded):
            assert is_reference(live), (recorded, live)
            (name, _, instance), (got, _, got_instance) = recorded[1], live[1]
            assert (name, instance == 0) == (got, got_instance == 0), (recorded, live)
            self._live[recorded[1]] = live[1]
        elif is_id_pack(recorded):
            wanted = self._live.get(recorded)
            assert live == wanted if wanted else live[0] == recorded[0], (recorded, live)
        elif isinstance(recorded, tuple):
            assert len(recorded) == len(live), (recorded, live)
            for one, other in zip(recorded, live, strict=True):
                self.compare(one, other)
        else:
            assert without_addresses(recorded) == without_addresses(live)


def compare_exceptions(names: Names, recorded: Any, live: Any) -> None:
    """Class, arguments, attributes and traceback of an exception message agree."""
    if not isinstance(recorded, tuple):
        assert live == recorded
        return
    (kind, args, attributes, trace), (got_kind, got_args, got_attributes, got_trace) = recorded, live
    assert kind == got_kind
    if kind[1] == "AttributeError" and args[0].startswith("cannot access"):
        assert got_args[0].startswith(args[0])
    elif kind[1] == "AttributeError" and not SAME_PYTHON:
        # Python words it, differently in each version.
        assert len(args) == len(got_args)
    elif kind[1] != "TypeError" or not WORDED_BY_PYTHON.search(str(args)):
        names.compare(args, got_args)
    wanted, got = dict(attributes), dict(got_attributes)
    wanted.pop("add_note", None)
    got.pop("add_note", None)
    version, got_version = wanted.pop("_remote_version"), got.pop("_remote_version")
    assert version.partition(".")[0] == got_version.partition(".")[0]
    names.compare(tuple(sorted(wanted.items())), tuple(sorted(got.items())))
    if trace == "<traceback denied>":
        assert got_trace == trace
    else:
        assert got_trace.startswith("Traceback (most recent call last)")
        assert got_trace.rstrip().endswith(trace.rstrip().splitlines()[-1].partition(":")[2])


def compare_inspections(recorded: Any, live: Any, service: bool) -> None:
    """The same methods; texts come with Python and are only checked for their kind."""
    assert all(isinstance(text, (str, type(None))) for _, text in live)
    wanted, got = [name for name, _ in recorded], [name for name, _ in live]
    if SAME_PYTHON and not service:
        assert got == wanted
    else:
        ours = [name for name in wanted if not name.startswith("_")]
        assert set(ours) <= set(got)


def payload_of(frame: dict[str, Any], thread_ids: bool) -> tuple[Any, Any]:
    """Sequence number and body of a recorded frame."""
    data = bytes.fromhex(frame["frame_hex"])
    payload = zlib.decompress(data[5:-1]) if data[4] else data[5:-1]
    sequence, body = brine.load(payload[17 if thread_ids else 1 :])
    return sequence, body


def is_id_pack(value: Any) -> bool:
    """(name, id of the class, id of the instance)"""
    return type(value) is tuple and len(value) == 3 and [type(part) for part in value] == [str, int, int] and value[1] > 1000


def is_reference(value: Any) -> bool:
    """A boxed reference to an object of the sender's."""
    return type(value) is tuple and len(value) == 2 and value[0] == consts.LABEL_REMOTE_REF and is_id_pack(value[1])


def is_inspection(value: Any) -> bool:
    """A boxed answer to an inspect request: a tuple of (method, text)."""
    label, content = value
    return label == 1 and type(content) is tuple and len(content) > 3 and all(map(is_pair, content))


def is_pair(value: Any) -> bool:
    """A tuple of two."""
    return type(value) is tuple and len(value) == 2


def without_addresses(value: Any) -> Any:
    """Texts with memory addresses blanked."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", value) if isinstance(value, str) else value
