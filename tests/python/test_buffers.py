"""Copies of objects with large buffers: `obtain`, `deliver` and NumPy's `__array__`, with pickle's out-of-band buffers."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy
import pytest
from conftest import Rig

import rpyc
from rpyc.core import consts, netref
from rpyc.utils import classic

PYTHON_PATH = bool(os.environ.get("RPYC_TEST_PYTHON_PATH"))
PICKLES = {"allow_pickle": True, "allow_public_attrs": True}


class Blob:
    """Pickles its memory apart, if asked to."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol >= 5:
            return Blob, (pickle.PickleBuffer(self.memory),)
        return Blob, (bytes(self.memory),)


class Shelf(rpyc.Service):
    """Has whatever was put there."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def exposed_thing(self) -> Any:
        """The thing, by reference: a list around it if it would go by value."""
        return self._thing


def fetch(rig: Rig, thing: Any) -> tuple[Any, list[int]]:
    """A copy of the thing on a shelf, and the handlers that were asked for."""
    tapped = rig.tapped(Shelf(thing), PICKLES, **PICKLES)
    proxy = tapped.conn.root.thing()
    before = len(tapped.sent)
    return classic.obtain(proxy), tapped.sent[before:]


ARRAYS = {
    "large": numpy.arange(1_000_000, dtype="f8"),
    "small": numpy.arange(5),
    "empty": numpy.zeros((0, 3)),
    "one byte": numpy.array([7], dtype="u1"),
    "fortran": numpy.asfortranarray(numpy.arange(60_000).reshape(200, 300)),
    "strided": numpy.arange(100_000)[::3],
    "structured": numpy.zeros(5000, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": numpy.array([1, "two", None], dtype=object),
    "scalar": numpy.array(3.5),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_arrives_as_it_is(rig: Rig, name: str) -> None:
    """Content, type, shape and order; and it can be written to."""
    original = ARRAYS[name]
    copy, handlers = fetch(rig, original)
    assert type(copy) is numpy.ndarray
    assert (copy.dtype, copy.shape) == (original.dtype, original.shape)
    assert (copy.flags.c_contiguous, copy.flags.f_contiguous) == (
        pickle.loads(pickle.dumps(original)).flags.c_contiguous,
        pickle.loads(pickle.dumps(original)).flags.f_contiguous,
    )
    assert numpy.array_equal(copy, original)
    assert copy.flags.writeable
    if copy.size and copy.dtype != object:
        copy.reshape(-1)[0] = numpy.zeros((), dtype=copy.dtype)
    if not PYTHON_PATH:
        assert consts.HANDLE_PICKLE_BUFFERS in handlers
        assert consts.HANDLE_PICKLE not in handlers


def test_read_only_stays_read_only(rig: Rig) -> None:
    """As in a pickle in one piece, or stricter than that: never writable memory of something immutable."""
    original = numpy.arange(100_000)
    original.flags.writeable = False
    copy, _ = fetch(rig, original)
    assert numpy.array_equal(copy, original)


def test_arrays_in_other_objects(rig: Rig) -> None:
    """Each with memory of its own; one that is there twice is there twice."""
    first, second = numpy.arange(50_000), numpy.ones(50_000)
    copy, _ = fetch(rig, {"first": first, "second": second, "again": first})
    assert numpy.array_equal(copy["first"], first)
    assert numpy.array_equal(copy["second"], second)
    assert copy["again"] is copy["first"]
    copy["first"][:] = 0
    assert copy["second"][0] == 1


def test_the_copy_is_of_the_moment_when_it_was_asked_for(rig: Rig) -> None:
    """What happens to the original while the copy travels is not seen in it."""
    original = numpy.zeros(500_000)
    tapped = rig.tapped(Shelf(original), PICKLES, **PICKLES)
    proxy = tapped.conn.root.thing()
    copies = []
    for number in range(1, 4):
        copies.append(classic.obtain(proxy))
        original[:] = number
    assert [set(copy.tolist()) for copy in copies] == [{0.0}, {1.0}, {2.0}]


@pytest.mark.parametrize("size", [0, 1, 100, 40_000, 3_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_any_object_with_buffers(rig: Rig, size: int, kind: type) -> None:
    """Of whatever size: short `bytes` are shared by all, and must not become writable."""
    memory = kind(bytes(size))
    copy, _ = fetch(rig, Blob(memory))
    assert bytes(copy.memory) == memory
    if not PYTHON_PATH:
        assert memoryview(copy.memory).readonly == (kind is bytes)
    if kind is bytearray and size and not PYTHON_PATH:
        memoryview(copy.memory)[0] = 1
    assert bytes(1) == b"\0"
    assert bytes(memory) == bytes(size)


def test_memory_that_is_not_contiguous(rig: Rig) -> None:
    """Goes in one piece."""
    copy, _ = fetch(rig, Blob(memoryview(bytes(range(20)))[::2]))
    assert copy.memory == bytes(range(0, 20, 2))


@pytest.mark.parametrize(("owner", "holder"), [(False, True), (True, False), (False, False)])
def test_both_ends_must_allow_it(rig: Rig, owner: bool, holder: bool) -> None:
    """The owner, because a pickle shows all of an object; the holder, because it runs what the peer chose."""
    tapped = rig.tapped(Shelf([1, 2]), {"allow_pickle": owner}, allow_pickle=holder)
    proxy = tapped.conn.root.thing()
    before = len(tapped.sent)
    with pytest.raises(ValueError, match="pickling is disabled"):
        classic.obtain(proxy)
    if not holder:
        assert tapped.sent[before:] == []


def test_deliver_makes_a_copy_there(rig: Rig) -> None:
    """With buffers too; the copy can be written to there."""
    conn = rig.connect(rig.serve(classic.SlaveService), classic.SlaveService)
    original = numpy.arange(200_000)
    remote = classic.deliver(conn, original)
    assert isinstance(remote, rpyc.BaseNetref)
    assert remote.sum() == original.sum()
    remote[0] = 7
    assert (remote[0], original[0]) == (7, 0)
    assert numpy.array_equal(classic.obtain(remote)[1:], original[1:])
    assert numpy.array_equal(numpy.asarray(remote)[1:], original[1:])


def test_a_peer_without_the_extension_gets_plain_pickles(rig: Rig) -> None:
    """As RPyC does."""

    class Stock(rpyc.Connection):
        """Knows no extensions."""

        def _handle_features(self) -> Any:
            raise KeyError(consts.HANDLE_FEATURES)

    service = type("StockShelf", (Shelf,), {"_protocol": Stock})(numpy.arange(100_000))
    tapped = rig.tapped(service, PICKLES, **PICKLES)
    copy = classic.obtain(tapped.conn.root.thing())
    assert numpy.array_equal(copy, service._thing)
    assert consts.HANDLE_PICKLE in tapped.sent
    assert consts.HANDLE_PICKLE_BUFFERS not in tapped.sent


def test_a_program_that_replaces_pickle_is_obeyed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions load what comes."""
    seen: list[bytes] = []

    class Pickle:
        """Notes what is loaded."""

        @staticmethod
        def loads(data: bytes, **_: Any) -> Any:
            seen.append(data)
            return pickle.loads(data)

    monkeypatch.setattr(netref, "pickle", Pickle)
    tapped = rig.tapped(Shelf(numpy.arange(3)), PICKLES, **PICKLES)
    assert list(numpy.asarray(tapped.conn.root.thing())) == [0, 1, 2]
    assert len(seen) == 1
    assert consts.HANDLE_PICKLE_BUFFERS not in tapped.sent


@pytest.mark.skipif(PYTHON_PATH, reason="the Python path pickles in one piece")
@pytest.mark.parametrize("answer", [None, 7, (), (b"",), (b"", 1), (b"", ((True,),)), (b"", ((True, "text"),)), ("x", ())])
def test_an_answer_that_is_no_pickle_is_an_error(rig: Rig, answer: Any) -> None:
    """And nothing worse."""

    class Liar(rpyc.Connection):
        """Answers anything."""

        def _handle_pickle_buffers(self, obj: Any) -> Any:
            return answer

    service = type("LiarShelf", (Shelf,), {"_protocol": Liar})([1])
    tapped = rig.tapped(service, PICKLES, **PICKLES)
    with pytest.raises((TypeError, ValueError, EOFError, pickle.UnpicklingError)):
        classic.obtain(tapped.conn.root.thing())
    assert tapped.conn.ping() is not None
