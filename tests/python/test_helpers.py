"""buffiter, restricted, async_, timed, BgServingThread and classpartial."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest
from conftest import PATIENCE, Pair, Rig, eventually, in_thread

import rpyc
from rpyc.core import consts, netref
from rpyc.core.async_ import AsyncResult
from rpyc.utils import helpers
from rpyc.utils.helpers import BgServingThread, async_, buffiter, classpartial, restricted, timed


class Store(rpyc.Service):
    """Things to iterate over, to call, and to guard."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.guarded = Guarded()
        self.conn: Any = None

    def on_connect(self, conn: Any) -> None:
        self.conn = conn

    def exposed_count(self, upto: int) -> Any:
        return iter(range(upto))

    def exposed_list(self, *items: Any) -> Any:
        return list(items)

    def exposed_add(self, a: int, b: int = 0) -> int:
        return a + b

    def exposed_fail(self) -> None:
        raise ValueError("no")

    def exposed_wait(self) -> bool:
        return self.gate.wait(PATIENCE)

    def exposed_restricted(self, attrs: Any, wattrs: Any = None) -> Any:
        return restricted(self.guarded, attrs, wattrs)

    def exposed_set_callback(self, function: Any) -> None:
        self.callback = function


class Guarded:
    def __init__(self) -> None:
        self.open, self.shut, self._hidden = 1, 2, 3

    def method(self) -> str:
        return "called"

    def __len__(self) -> int:
        return 7


@pytest.fixture
def pair(rig: Rig) -> Pair:
    """A connection whose far side counts what buffiter asks for."""

    class Counting(Store):
        pass

    service = Counting()
    pair = rig.pair(service)
    rig.on_end(service.gate.set)
    return pair


# ----------------------------------------------------------------------- buffiter


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 30, 2000])
def test_buffiter_yields_all_items_in_order(pair: Pair, length: int) -> None:
    assert list(buffiter(pair.client.root.count(length))) == list(range(length))
    assert list(buffiter(pair.client.root.list(*range(length)))) == list(range(length))


def test_buffiter_asks_for_growing_batches(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def noting(proxy: Any, handler: int, *args: Any) -> Any:
        if handler == consts.HANDLE_BUFFITER:
            sizes.append(args[0])
        return netref.syncreq(proxy, handler, *args)

    monkeypatch.setattr(helpers, "syncreq", noting)
    assert len(list(buffiter(pair.client.root.count(3000)))) == 3000
    assert sizes == [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]
    del sizes[:]
    assert len(list(buffiter(pair.client.root.count(20), chunk=5, max_chunk=7, factor=3))) == 20
    assert sizes == [5, 7, 7, 7, 7]


def test_buffiter_takes_only_what_is_wanted(pair: Pair) -> None:
    items = pair.client.root.count(100)
    assert next(buffiter(items, chunk=3)) == 0
    # The batch of three is gone from the iterator.
    assert next(items) == 3


def test_buffiter_edges(pair: Pair) -> None:
    assert list(buffiter(pair.client.root.count(5), chunk=0)) == []
    lazy = buffiter(pair.client.root.count(5), factor=0)
    with pytest.raises(ValueError, match="factor"):
        next(lazy)
    with pytest.raises(AttributeError):
        next(buffiter([1, 2]))


# --------------------------------------------------------------------- restricted


def test_restricted_locally() -> None:
    guarded = Guarded()
    view = restricted(guarded, ["open", "method", "_hidden"])
    assert (view.open, view.method(), view._hidden) == (1, "called", 3)
    with pytest.raises(AttributeError, match="shut"):
        _ = view.shut
    view.open = 5
    assert guarded.open == 5
    with pytest.raises(AttributeError, match="shut"):
        view.shut = 5
    read_only = restricted(guarded, ["open"], ())
    with pytest.raises(AttributeError):
        read_only.open = 6
    only_write = restricted(guarded, ["open"], ["shut"])
    only_write.shut = 9
    assert guarded.shut == 9
    assert type(view).__name__ == "Restricted"


def test_restricted_remotely_whatever_the_config(rig: Rig) -> None:
    service = Store()
    pair = rig.pair(service, {"allow_all_attrs": True, "allow_setattr": True})
    view = pair.client.root.restricted(("open", "_hidden", "method", "__len__"))
    assert (view.open, view._hidden, view.method(), view.__len__()) == (1, 3, "called", 7)
    with pytest.raises(AttributeError):
        _ = view.shut
    view.open = 8
    assert service.guarded.open == 8
    with pytest.raises(AttributeError):
        pair.client.root.restricted(("open",), ()).open = 9


def test_restricted_can_be_written_without_config(rig: Rig) -> None:
    service = Store()
    pair = rig.pair(service, {"allow_setattr": False})
    pair.client.root.restricted(("open",)).open = 4
    assert service.guarded.open == 4


# ------------------------------------------------------------------ async_, timed


def test_async_calls(pair: Pair) -> None:
    add = async_(pair.client.root.add)
    results = [add(number, b=1) for number in range(5)]
    assert all(isinstance(result, AsyncResult) for result in results)
    assert [result.value for result in results] == [1, 2, 3, 4, 5]
    failed = async_(pair.client.root.fail)()
    with pytest.raises(ValueError, match="no"):
        _ = failed.value


def test_async_wrappers_are_shared(pair: Pair) -> None:
    add = pair.client.root.add
    wrapper = async_(add)
    assert async_(add) is wrapper
    assert async_(wrapper) is wrapper
    assert wrapper.proxy is add
    assert repr(wrapper) == f"async_({add!r})"
    del wrapper
    gc.collect()
    assert id(add) not in helpers._async_proxies_cache
    assert getattr(helpers, "async") is async_
    assert getattr(rpyc, "async") is async_


def test_async_refuses_what_it_cannot_call(pair: Pair) -> None:
    with pytest.raises(TypeError, match="'proxy' must be a Netref: 5"):
        async_(5)
    with pytest.raises(TypeError, match="'proxy' must be a Netref"):
        async_(len)
    plain = pair.client.root.restricted(())
    with pytest.raises(TypeError, match="'proxy' must be callable"):
        async_(plain)


def test_timed_results_expire(pair: Pair) -> None:
    wait = timed(pair.client.root.wait, 0.05)
    assert repr(wait) == f"timed({pair.client.root.wait!r}, 0.05)"
    result = wait()
    with pytest.raises(rpyc.AsyncResultTimeout):
        _ = result.value
    assert result.expired
    pair.server._local_root.gate.set()
    assert timed(pair.client.root.wait, PATIENCE)().value is True
    assert timed(async_(pair.client.root.add), PATIENCE)(1, b=2).value == 3


# ---------------------------------------------------------------- BgServingThread


def test_a_background_thread_serves_callbacks_at_once(pair: Pair) -> None:
    background = BgServingThread(pair.client)
    called = threading.Event()
    pair.client.root.set_callback(called.set)
    began = time.monotonic()
    for _ in range(20):
        called.clear()
        in_thread(lambda: pair.server._local_root.callback())
        assert called.wait(PATIENCE)
    # Twenty times RPyC's sleep interval of 0.1 s would be two seconds.
    assert time.monotonic() - began < 1
    background.stop()


def test_calls_work_while_a_background_thread_serves(pair: Pair) -> None:
    background = BgServingThread(pair.client)
    assert [pair.client.root.add(number, 1) for number in range(200)] == list(range(1, 201))
    background.stop()
    assert pair.client.root.add(1, 1) == 2


def test_a_background_thread_that_stepped_aside_serves_again(pair: Pair) -> None:
    """It does so once it has received the answer to another thread's call, and until no thread calls."""
    called = threading.Event()
    pair.client.root.set_callback(called.set)
    background = BgServingThread(pair.client)

    def received_for_others() -> bool:
        assert pair.client.root.add(1, 1) == 2
        return pair.client._answers[1] > 0

    eventually(received_for_others)
    for _ in range(3):
        called.clear()
        in_thread(lambda: pair.server._local_root.callback())
        assert called.wait(PATIENCE)
    eventually(received_for_others)
    assert pair.client.root.add(1, 1) == 2
    background.stop()
    assert not background._thread.is_alive()


def test_answers_are_counted_by_who_received_them(pair: Pair) -> None:
    """A thread that waits alone receives its own."""
    before, passed_on = pair.client._answers
    for number in range(5):
        assert pair.client.root.add(number, 1) == number + 1
    after, still = pair.client._answers
    assert after >= before + 5
    assert still == passed_on == 0


def test_stopping_a_background_thread(pair: Pair) -> None:
    background = BgServingThread(pair.client)
    thread = background._thread
    assert thread.daemon
    began = time.monotonic()
    background.stop()
    assert time.monotonic() - began < 1
    assert not thread.is_alive()
    with pytest.raises(AssertionError, match="not running"):
        background.stop()


def test_a_background_thread_can_be_stopped_by_what_it_serves(pair: Pair) -> None:
    background = BgServingThread(pair.client)
    pair.client.root.set_callback(background.stop)
    done = in_thread(lambda: pair.server._local_root.callback())
    assert done.result(PATIENCE) is None
    eventually(lambda: not background._thread.is_alive())


def test_a_background_thread_reports_the_end_of_its_connection(pair: Pair) -> None:
    ended = threading.Event()
    background = BgServingThread(pair.client, callback=ended.set)
    in_thread(pair.server.close)
    assert ended.wait(PATIENCE)
    with pytest.raises(AssertionError):
        background.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_background_thread_without_callback_raises(pair: Pair) -> None:
    background = BgServingThread(pair.client)
    in_thread(pair.server.close)
    eventually(lambda: not background._thread.is_alive())
    with pytest.raises(AssertionError):
        background.stop()


def test_intervals_of_a_background_thread_are_honoured() -> None:
    class Recording:
        def __init__(self) -> None:
            self.intervals: list[float] = []
            self.served = threading.Event()

        def serve(self, interval: float) -> None:
            self.intervals.append(interval)
            self.served.set()

    conn: Any = Recording()
    background = BgServingThread(conn, serve_interval=0.25, sleep_interval=60)
    assert conn.served.wait(PATIENCE)
    began = time.monotonic()
    background.stop()
    # Stopping ends the sleep.
    assert time.monotonic() - began < 10
    assert conn.intervals == [0.25]
    assert (BgServingThread.SERVE_INTERVAL, BgServingThread.SLEEP_INTERVAL) == (0.0, 0.1)
    other: Any = Recording()
    background = BgServingThread(other, sleep_interval=0.01)
    eventually(lambda: len(other.intervals) > 2)
    background.stop()
    assert set(other.intervals) == {0.0}


# ------------------------------------------------------------------- classpartial


def test_classpartial_gives_arguments_to_each_instance(rig: Rig) -> None:
    class Named(rpyc.Service):
        """Has a name."""

        def __init__(self, name: str, mark: str = "") -> None:
            self.name = name + mark

        def exposed_name(self) -> str:
            return self.name

    partial = classpartial(Named, "peter", mark="!")
    assert issubclass(partial, Named)
    assert (partial.__name__, partial.__module__, partial.__doc__) == (
        "Named",
        __name__,
        "Has a name.",
    )
    assert partial.get_service_name() == "NAMED"
    made = partial()
    assert type(made) is Named
    assert made is not partial()
    with pytest.raises(TypeError):
        partial("paul")
    server = rig.serve(partial)
    assert rig.connect(server).root.name() == "peter!"
