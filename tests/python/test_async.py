"""Asynchronous results, `async_`, `timed`, `buffiter`, and many requests under way at once."""

from __future__ import annotations

import gc
import importlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Rig, eventually, in_thread

import rpyc
from rpyc.core import consts


class Service(rpyc.Service):
    """Calls that end when the test says so. One instance serves the one connection of a test."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.chunks: list[Any] = []

    def exposed_same(self, value: Any = None) -> Any:
        return value

    def exposed_wait(self) -> str:
        assert self.gate.wait(20)
        return "through"

    def exposed_fail(self) -> None:
        raise ValueError("failed")

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def exposed_count_to(self, limit: int) -> Iterator[int]:
        return iter(range(limit))

    def exposed_size(self, data: bytes) -> int:
        return len(data)


@pytest.fixture
def service() -> Iterator[Service]:
    """The remote side; whatever waits in it is let go at the end."""
    made = Service()
    yield made
    made.gate.set()


@pytest.fixture
def conn(service: Service, rig: Rig) -> Any:
    """A connection to `service`."""
    client = rig.pair(service).client
    rig.on_end(service.gate.set)
    return client


def state(result: Any) -> str:
    """The word that repr shows."""
    return repr(result).removeprefix("<AsyncResult object (").partition(")")[0]


# Results


def test_life_of_a_result(conn: Any, service: Service) -> None:
    """Pending, then ready; neither an error nor expired."""
    result = rpyc.async_(conn.root.wait)()
    assert not result.ready and not result.error and not result.expired
    assert state(result) == "pending"
    service.gate.set()
    result.wait()
    assert result.ready and not result.error and not result.expired
    assert state(result) == "ready"
    assert result.value == result.value == "through"


def test_wait_accepts_a_time_limit(conn: Any, service: Service) -> None:
    """Intended superset of 6.0.2: `wait(timeout)` gives up after so many seconds, and may be repeated."""
    result = rpyc.async_(conn.root.wait)()
    with pytest.raises(rpyc.AsyncResultTimeout):
        result.wait(timeout=0.05)
    assert not result.expired
    service.gate.set()
    result.wait(timeout=None)
    assert result.value == "through"


def test_no_value_is_a_value(conn: Any) -> None:
    """A function that returns None."""
    result = rpyc.async_(conn.root.same)()
    result.wait()
    assert result.ready and result.value is None


def test_failure(conn: Any) -> None:
    """The same exception object every time it is read."""
    result = rpyc.async_(conn.root.fail)()
    result.wait()
    assert result.ready and result.error and not result.expired
    assert state(result) == "ready"
    with pytest.raises(ValueError, match="failed") as first:
        result.value  # noqa: B018
    with pytest.raises(ValueError, match="failed") as second:
        result.value  # noqa: B018
    assert first.value is second.value


def test_expiry(conn: Any, service: Service) -> None:
    """An expired result raises, stays expired, and drops the late answer without running callbacks."""
    called: list[Any] = []
    result = rpyc.async_(conn.root.wait)()
    result.add_callback(called.append)
    result.set_expiry(0.05)
    with pytest.raises(rpyc.AsyncResultTimeout, match="result expired"):
        result.wait()
    assert result.expired and not result.ready and not result.error
    assert state(result) == "expired"
    with pytest.raises(TimeoutError):
        result.value  # noqa: B018
    service.gate.set()
    conn.ping()
    result.set_expiry(None)
    assert not result.ready and called == []


def test_expiry_can_be_lifted_in_time(conn: Any, service: Service) -> None:
    """An expired result whose answer has not been read yet is revived."""
    result = rpyc.async_(conn.root.wait)()
    result.set_expiry(0)
    assert result.expired
    for forever in (None, -1):
        result.set_expiry(forever)
        assert not result.expired
    service.gate.set()
    assert result.value == "through"


def test_callbacks_of_a_result(conn: Any, service: Service) -> None:
    """They run in order, with the finished result, once; at once if it is already there."""
    seen: list[Any] = []
    result = rpyc.async_(conn.root.wait)()
    for name in "ab":
        result.add_callback(lambda done, name=name: seen.append((name, done is result, done.ready, done.error)))
    assert seen == []
    service.gate.set()
    result.wait()
    assert seen == [("a", True, True, False), ("b", True, True, False)]
    result.add_callback(lambda done: seen.append("late"))
    assert seen[2:] == ["late"]


def test_failing_callback_harms_nobody_else(conn: Any) -> None:
    """Sane where 6.0.2 is not: it reaches the reader, and the connection is usable by every thread afterwards."""

    def bad(result: Any) -> None:
        raise LookupError("callback")

    result = rpyc.async_(conn.root.same)(5)
    result.add_callback(bad)
    with pytest.raises(LookupError, match="callback"):
        result.wait()
    assert result.value == 5
    assert in_thread(lambda: conn.root.same(6)).result(10) == 6


def test_ready_serves_what_is_pending(conn: Any) -> None:
    """Looking is enough: nobody has to wait for a result to become ready."""
    result = rpyc.async_(conn.root.same)(1)
    eventually(lambda: result.ready)
    assert result.value == 1


def test_result_is_the_callback_of_its_request(conn: Any) -> None:
    """Calling it with (is_exception, object) completes it; the type is importable and constructible."""
    result = rpyc.AsyncResult(conn)
    result(False, "given")
    assert result.ready and result.value == "given"
    failed = rpyc.AsyncResult(conn)
    failed(True, KeyError("k"))
    with pytest.raises(KeyError):
        failed.value  # noqa: B018
    late = rpyc.AsyncResult(conn)
    late.set_expiry(0)
    late(False, "ignored")
    assert not late.ready


def test_results_need_not_be_kept(conn: Any) -> None:
    """A result that nobody holds does not stay with the connection after its answer."""
    class Witness:
        def __call__(self, result: Any) -> None:
            """Never mind the result."""

    witness = Witness()
    gone = weakref.ref(witness)
    rpyc.async_(conn.root.same)(1).add_callback(witness)
    del witness
    conn.ping()
    eventually(lambda: gone() is None)
    eventually(lambda: conn.poll_all() or not conn._request_callbacks)


# async_ and timed


def test_async_wrappers(conn: Any) -> None:
    """One wrapper a proxy, which keeps the proxy; wrapping twice changes nothing."""
    same = conn.root.same
    wrapper = rpyc.async_(same)
    assert rpyc.async_(same) is wrapper and rpyc.async_(wrapper) is wrapper
    assert wrapper.proxy is same
    assert repr(wrapper) == f"async_({same!r})"
    assert getattr(rpyc, "async") is rpyc.async_
    assert importlib.import_module("rpyc.core.async").AsyncResult is rpyc.AsyncResult
    result = wrapper(7)
    assert isinstance(result, rpyc.AsyncResult) and result.value == 7


def test_async_refuses_what_is_no_remote_callable(conn: Any) -> None:
    """TypeErrors that say which."""

    class Uncallable:
        pass

    with pytest.raises(TypeError, match="'proxy' must be a Netref"):
        rpyc.async_(len)
    served: Any = rpyc.async_(conn.root.call)(lambda: Uncallable()).value
    assert isinstance(served, Uncallable)
    with pytest.raises(TypeError, match="'proxy' must be callable"):
        rpyc.async_(conn.root)


def test_timed(conn: Any, service: Service) -> None:
    """A result with an expiry, which does not block by itself."""
    wrapped = rpyc.timed(conn.root.wait, 0.05)
    assert repr(wrapped).startswith("timed(") and repr(wrapped).endswith(", 0.05)")
    result = wrapped()
    assert isinstance(result, rpyc.AsyncResult)
    with pytest.raises(rpyc.AsyncResultTimeout):
        result.value  # noqa: B018
    service.gate.set()
    assert rpyc.timed(conn.root.wait, 20)().value == "through"


# buffiter


def test_buffiter_asks_for_growing_chunks(rig: Rig) -> None:
    """chunk, chunk * factor, ... up to the maximum, until an empty answer."""
    asked: list[Any] = []

    class Recording(rpyc.core.protocol.Connection):
        def _handle_buffiter(self, obj: Any, count: Any) -> Any:
            asked.append(count)
            return super()._handle_buffiter(obj, count)

    class Chunked(Service):
        _protocol = Recording

    root = rig.pair(Chunked()).client.root
    assert list(rpyc.buffiter(root.count_to(70))) == list(range(70))
    assert asked == [10, 20, 40, 80]
    asked.clear()
    assert list(rpyc.buffiter(root.count_to(7), chunk=2, max_chunk=3, factor=2)) == list(range(7))
    assert asked == [2, 3, 3, 3]


def test_buffiter_details(conn: Any) -> None:
    """A factor below 1 is refused at the first step; a chunk of 0 yields nothing; what is local is refused."""
    numbers = conn.root.count_to
    half: Any = 0.5
    generator = rpyc.buffiter(numbers(3), factor=half)
    with pytest.raises(ValueError):  # noqa: PT011
        next(generator)
    assert list(rpyc.buffiter(numbers(3), chunk=0)) == []
    assert list(rpyc.buffiter(numbers(10_000))) == list(range(10_000))
    with pytest.raises(AttributeError):
        next(rpyc.buffiter([1, 2]))


# Many at once


def test_five_hundred_outstanding(rig: Rig) -> None:
    """Each gets its own answer, over TCP and over a Unix socket (where 6.0.2 locks up)."""
    for unix in (False, True):
        same = rpyc.async_(rig.connect(rig.serve(Service(), unix=unix)).root.same)
        results = [same(n) for n in range(500)]
        assert [result.value for result in results] == list(range(500))


def test_two_peers_that_both_write(rig: Rig) -> None:
    """5,000 asynchronous calls of 1 KiB over a Unix socket, none of them read meanwhile.

    Intended difference: both peers write more than the socket holds, and each must go on reading while it waits to
    write. 6.0.2 deadlocks here.
    """
    conn = rig.connect(rig.serve(Service(), unix=True))
    same = rpyc.async_(conn.root.same)
    blocks = [n.to_bytes(4, "big") * 256 for n in range(5000)]
    results = [same(block) for block in blocks]
    assert all(result.value == block for result, block in zip(results, blocks, strict=True))


def test_callbacks_while_results_are_outstanding(conn: Any) -> None:
    """A synchronous call completes while asynchronous ones, each calling back, are under way."""
    call = rpyc.async_(conn.root.call)
    results = [call(lambda n: n + 1, n) for n in range(40)]
    assert conn.root.same("sync") == "sync"
    assert [result.value for result in results] == list(range(1, 41))
    eventually(lambda: conn.poll_all() or not conn._request_callbacks)


def test_outstanding_results_of_a_dropped_proxy(conn: Any) -> None:
    """The function's proxy may go while its calls are under way."""
    results = [rpyc.async_(conn.root.same)(n) for n in range(50)]
    gc.collect()
    assert [result.value for result in results] == list(range(50))
    assert conn.sync_request(consts.HANDLE_PING, 1) == 1
