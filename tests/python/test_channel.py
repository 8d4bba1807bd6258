"""The channel: frames over a stream that is driven through its methods."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, in_thread

import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream, SocketStream, Stream

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "vectors.json").read_text()
)["channel"]


class MemoryStream(Stream):
    """Reads from given bytes and records what is written."""

    MAX_IO_CHUNK = 64000

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.writes: list[bytes] = []
        self._closed = False

    def read(self, count: int) -> bytes:
        part, self.data = self.data[:count], self.data[count:]
        if len(part) < count:
            raise EOFError("connection closed by peer")
        return part

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed


def payloads() -> dict[str, bytes]:
    source = random.Random(7)
    noise = bytes(source.getrandbits(8) for _ in range(70000))
    return {
        "empty": b"",
        "1 byte": b"\0",
        "ascii": b"hello",
        "newlines": b"\n\n\n",
        "exactly 3000 zero bytes": b"\0" * 3000,
        "3001 zero bytes": b"\0" * 3001,
        "3001 noise bytes (random.Random(7).getrandbits(8))": noise[:3001],
        "10000 x 'a'": b"a" * 10000,
        "63994 zero bytes": b"\0" * 63994,
        "63995 zero bytes": b"\0" * 63995,
        "64000 zero bytes": b"\0" * 64000,
        "70000 noise bytes (same generator)": noise,
    }


PAYLOADS = payloads()


@pytest.mark.parametrize(
    "record", VECTORS["frames"], ids=lambda r: f"{r['payload'][:20]}-{r['channel_compress']}"
)
def test_frames_of_the_vectors(record: dict[str, Any]) -> None:
    payload = PAYLOADS[record["payload"]]
    assert hashlib.sha256(payload).hexdigest() == record["payload_sha256"]
    stream = MemoryStream()
    Channel(stream, compress=record["channel_compress"]).send(payload)
    wire = b"".join(stream.writes)
    assert Channel(MemoryStream(wire)).recv() == payload
    length, flag = Channel.FRAME_HEADER.unpack(wire[:5])
    assert (flag, len(wire), wire[-1:]) == (record["flag"], length + 6, b"\n")
    if flag:
        # The compressed form belongs to the zlib library; what it holds is checked above.
        return
    assert [len(part) for part in stream.writes] == record["write_sizes"]
    assert length == record["header_len_field"]
    assert_frame(wire, record["frame"])


def assert_frame(wire: bytes, frame: dict[str, Any]) -> None:
    if "hex" in frame:
        assert wire.hex() == frame["hex"]
    else:
        assert len(wire) == frame["length"]
        assert hashlib.sha256(wire).hexdigest() == frame["sha256"]


@pytest.mark.parametrize(
    "record", [r for r in VECTORS["frames"] if "hex" in r["frame"]], ids=lambda r: r["payload"]
)
def test_recorded_frames_are_received(record: dict[str, Any]) -> None:
    wire = bytes.fromhex(record["frame"]["hex"])
    assert Channel(MemoryStream(wire), compress=False).recv() == PAYLOADS[record["payload"]]


@pytest.mark.parametrize("record", VECTORS["accepted_oddities"], ids=lambda r: r["note"])
def test_accepted_oddities(record: dict[str, Any]) -> None:
    if "hex" in record["frame"]:
        wire = bytes.fromhex(record["frame"]["hex"])
    else:
        wire = (4000).to_bytes(4, "big") + b"\0" + b"q" * 4000 + b"\n"
        assert_frame(wire, record["frame"])
    assert len(Channel(MemoryStream(wire)).recv()) == record["payload_len"]


@pytest.mark.parametrize("record", VECTORS["invalid"], ids=lambda r: r["note"])
def test_invalid_frames(record: dict[str, Any]) -> None:
    error = zlib.error if record["error"] == "zlib.error" else EOFError
    with pytest.raises(error):
        Channel(MemoryStream(bytes.fromhex(record["hex"]))).recv()


def test_a_cut_compressed_body_is_refused() -> None:
    body = zlib.compress(b"x" * 100)[:-5]
    wire = Channel.FRAME_HEADER.pack(len(body), 1) + body + b"\n"
    with pytest.raises(zlib.error):
        Channel(MemoryStream(wire)).recv()


class Narrow(Channel):
    MAX_FRAME_SIZE = 1000
    MAX_INFLATED_SIZE = 500


def test_a_frame_over_the_limit_is_refused_unread() -> None:
    stream = MemoryStream(Channel.FRAME_HEADER.pack(1001, 0) + b"x" * 1002)
    with pytest.raises(ValueError, match="MAX_FRAME_SIZE"):
        Narrow(stream).recv()
    assert stream.closed and len(stream.data) == 1002
    with pytest.raises(ValueError, match="MAX_FRAME_SIZE"):
        Narrow(MemoryStream()).send(b"x" * 1001)


@pytest.mark.parametrize("size", [499, 500, 501, 10**5])
def test_a_bomb_is_refused(size: int) -> None:
    body = zlib.compress(b"\0" * size)
    wire = Channel.FRAME_HEADER.pack(len(body), 1) + body + b"\n"
    assert len(wire) < Narrow.MAX_FRAME_SIZE
    assert len(Channel(MemoryStream(wire)).recv()) == size
    if size <= Narrow.MAX_INFLATED_SIZE:
        assert len(Narrow(MemoryStream(wire)).recv()) == size
    else:
        with pytest.raises(ValueError, match="MAX_INFLATED_SIZE"):
            Narrow(MemoryStream(wire)).recv()


def test_threshold_and_level_can_be_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "COMPRESSION_THRESHOLD", 10)
    monkeypatch.setattr(Channel, "COMPRESSION_LEVEL", 9)
    stream = MemoryStream()
    Channel(stream).send(b"a" * 11)
    Channel(stream).send(b"a" * 10)
    assert stream.writes[0][4:7] == b"\x01\x78\xda"
    assert stream.writes[1] == b"\0\0\0\x0a\0" + b"a" * 10 + b"\n"


def test_the_stream_decides_how_much_goes_into_one_write() -> None:
    stream = MemoryStream()
    stream.MAX_IO_CHUNK = 10
    Channel(stream).send(b"abcd")
    Channel(stream).send(b"abcdefgh")
    assert [len(part) for part in stream.writes] == [10, 10, 3, 1]


def test_over_a_real_pipe() -> None:
    left, right = map(Channel, PipeStream.create_pair())
    assert not right.poll(0)
    left.send(b"one")
    left.send(b"two" * 2000)
    assert right.poll(10) and right.fileno() == right.stream.fileno()
    assert right.recv() == b"one" and right.recv() == b"two" * 2000
    left.close()
    assert left.closed and not right.closed
    with pytest.raises(EOFError):
        right.recv()
    assert right.closed


class Interrupted(Channel):
    """Runs something while it is asked to receive, as a finalizer or a signal handler may."""

    meanwhile: Any = None

    def poll(self, timeout: Any) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().poll(timeout)


def test_code_that_runs_inside_a_channel_can_not_ask_its_peer(rig: Rig) -> None:
    """It is told so, where the thread would wait for itself; and the wait that it ran in goes on."""
    mine, theirs = socket.socketpair()
    peer = rpyc.connect_stream(SocketStream(theirs))
    serving = in_thread(peer.serve_all)
    channel = Interrupted(SocketStream(mine))
    conn = rpyc.connect_channel(channel)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            conn.ping()
        except RuntimeError as error:
            errors.append(error)

    channel.meanwhile = ask
    assert conn.ping("outer") == "outer"
    assert ["own channel receives" in str(error) for error in errors] == [True]
    assert conn.ping("later") == "later"
    conn.close()
    serving.result(PATIENCE)
