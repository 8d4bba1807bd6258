"""`conn.batch()`: calls that go out together and come back together."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from conftest import Rig, in_thread

import rpyc
from rpyc.core import consts

PYTHON_PATH = bool(os.environ.get("RPYC_TEST_PYTHON_PATH"))


class Item:
    """Travels by reference."""

    def __init__(self, name: str) -> None:
        self.exposed_name = name

    def exposed_call_me(self) -> str:
        """The name."""
        return self.exposed_name


class Desk(rpyc.Service):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def exposed_note(self, *args: Any, **kwargs: Any) -> Any:
        """What was given."""
        self.asked.append((args, tuple(kwargs.items())))
        return args, tuple(kwargs.items())

    def exposed_add(self, a: int, b: int) -> int:
        """The sum."""
        return a + b

    def exposed_item(self, name: str) -> Item:
        """A new item."""
        return Item(name)

    def exposed_fail(self, text: str) -> None:
        """Raise."""
        raise KeyError(text)

    def exposed_stop(self) -> None:
        """Raise what ends loops."""
        raise StopIteration

    def exposed_apply(self, function: Any, *args: Any) -> Any:
        """Call back."""
        return function(*args)

    def exposed_raise(self, name: str) -> None:
        """Raise a builtin exception."""
        raise {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[name]()

    def exposed_long_number(self) -> int:
        """No message can hold it."""
        return 10**5000

    def exposed_hang_up(self) -> None:
        """Leave in the middle."""
        self.conn.close()

    def on_connect(self, conn: Any) -> None:
        """Remember the connection."""
        self.conn = conn


def no_batches(service: type[rpyc.Service]) -> type[rpyc.Service]:
    """The same service, with a peer that knows no extension, as RPyC is one."""

    class Stock(rpyc.Connection):
        """Answers as RPyC does."""

        def _handle_features(self) -> Any:
            raise KeyError(consts.HANDLE_FEATURES)

    return type("Stock" + service.__name__, (service,), {"_protocol": Stock})


@pytest.fixture(params=["ours", "stock"])
def conn(rig: Rig, request: pytest.FixtureRequest) -> Any:
    """A connection to a desk: to a peer that performs batches, and to one that does not."""
    return rig.connect(rig.serve(Desk if request.param == "ours" else no_batches(Desk)))


def test_results_come_in_order(conn: Any) -> None:
    """Each belongs to its call, and all are there after the block."""
    add, root = conn.root.add, conn.root
    with conn.batch() as batch:
        results = [batch(add, n, 1) for n in range(50)]
        named = [batch(root.add, n, 2) for n in range(50)]
        assert not any(result.ready for result in results)
    assert all(result._is_ready for result in (*results, *named))
    assert [result.value for result in results] == [n + 1 for n in range(50)]
    assert [result.value for result in named] == [n + 2 for n in range(50)]
    assert not any(result.error for result in results)


def test_calls_are_performed_in_order(rig: Rig) -> None:
    """With all of their arguments."""
    desk = Desk()
    conn = rig.connect(rig.serve(desk))
    with conn.batch() as batch:
        for n in range(30):
            batch(conn.root.note, n, key=n)
    assert desk.asked == [((n,), (("key", n),)) for n in range(30)]


def test_references_travel_both_ways(conn: Any) -> None:
    """Objects of the peer, of this side, and methods of objects."""
    with conn.batch() as batch:
        items = [batch(conn.root.item, f"item {n}") for n in range(20)]
        echo = batch(conn.root.note, conn.root, items)
    assert [item.value.name for item in items] == [f"item {n}" for n in range(20)]
    (root, mine), _ = echo.value
    assert root is conn.root
    assert mine is items
    with conn.batch() as batch:
        names = [batch(item.value.call_me) for item in items]
    assert [name.value for name in names] == [f"item {n}" for n in range(20)]


def test_an_exception_belongs_to_its_call(conn: Any) -> None:
    """The calls before and after it are not concerned."""
    with conn.batch() as batch:
        before = batch(conn.root.add, 1, 1)
        failing = batch(conn.root.fail, "this one")
        stopping = batch(conn.root.stop)
        wrong = batch(conn.root.add, 1)
        missing = batch(conn.root.item, "x")
        after = batch(conn.root.add, 2, 2)
    assert (before.value, after.value, missing.value.name) == (2, 4, "x")
    assert failing.error
    with pytest.raises(KeyError, match="this one"):
        failing.value  # noqa: B018 - raises
    with pytest.raises(StopIteration):
        stopping.value  # noqa: B018 - raises
    with pytest.raises(TypeError):
        wrong.value  # noqa: B018 - raises


def test_what_can_not_travel_fails_alone(conn: Any) -> None:
    """An argument here, or a result there."""
    with conn.batch() as batch:
        first = batch(conn.root.add, 1, 1)
        unsendable = batch(conn.root.note, 10**5000)
        item = batch(conn.root.item, "kept")
        unanswerable = batch(conn.root.long_number)
        last = batch(conn.root.add, 2, 2)
    assert (first.value, item.value.name, last.value) == (2, "kept", 4)
    for result in (unsendable, unanswerable):
        with pytest.raises(ValueError, match="digits"):
            result.value  # noqa: B018 - raises


def test_callbacks_run_in_the_thread_that_waits(conn: Any) -> None:
    """As for any call."""
    seen = []

    def back(number: int) -> int:
        seen.append(threading.current_thread())
        return conn.root.add(number, 1)  # type: ignore[no-any-return]

    with conn.batch() as batch:
        results = [batch(conn.root.apply, back, n) for n in range(5)]
    assert [result.value for result in results] == [1, 2, 3, 4, 5]
    assert set(seen) == {threading.current_thread()}


def test_results_have_callbacks(conn: Any) -> None:
    """One that fails does not keep the other results waiting."""
    seen: list[int] = []

    def fail(result: Any) -> None:
        raise ArithmeticError("a callback's own")

    with pytest.raises(ArithmeticError), conn.batch() as batch:
        results = [batch(conn.root.add, n, 1) for n in range(3)]
        results[0].add_callback(fail)
        for result in results:
            result.add_callback(lambda result: seen.append(result.value))
    for result in results:
        result.wait(5)
    assert sorted(seen) in ([2, 3], [1, 2, 3])


def test_leaving_with_an_exception_sends_nothing(rig: Rig) -> None:
    """The results say so, instead of waiting for ever."""
    desk = Desk()
    conn = rig.connect(rig.serve(desk))
    note = conn.root.note
    with pytest.raises(ZeroDivisionError), conn.batch() as batch:
        result = batch(note, 1)
        raise ZeroDivisionError
    conn.ping()
    assert desk.asked == []
    with pytest.raises(RuntimeError, match="was not sent: its batch was left with ZeroDivisionError"):
        result.value  # noqa: B018 - raises


def test_other_calls_in_the_block_are_not_held_back(conn: Any) -> None:
    """Only what is given to the batch is."""
    with conn.batch() as batch:
        result = batch(conn.root.add, 1, 1)
        assert conn.root.add(2, 2) == 4
        with conn.batch() as inner:
            inside = inner(conn.root.add, 3, 3)
        assert inside.value == 6
        assert not result._is_ready
    assert result.value == 2


def test_wrong_uses_are_errors(rig: Rig, conn: Any) -> None:
    """A function of this side, a proxy of another connection, a batch that is over."""
    other = rig.connect(rig.serve(Desk))
    with conn.batch() as batch:
        for wrong in (print, other.root.add, rpyc.async_(conn.root.add), None):
            with pytest.raises(TypeError, match="remote objects of its connection"):
                batch(wrong, 1)
        with pytest.raises(TypeError):
            batch()
    with pytest.raises(RuntimeError, match="inside its `with` block only"):
        batch(conn.root.add, 1, 1)


def test_an_empty_batch_sends_nothing(rig: Rig) -> None:
    """No question about extensions either."""
    tapped = rig.tapped(Desk)

    def empty() -> None:
        with tapped.conn.batch():
            pass

    assert tapped.count(empty) == 0


def test_a_batch_is_one_request(rig: Rig) -> None:
    """And one more for the peer's extensions, once."""
    tapped = rig.tapped(Desk)
    conn = tapped.conn
    conn.root.add(1, 1)
    add = conn.root.add

    def calls() -> None:
        with conn.batch() as batch:
            for n in range(500):
                batch(add, n, 1)

    assert tapped.count(calls) == 2
    assert tapped.count(calls) == 1


def test_many_calls_go_out_in_pieces(rig: Rig) -> None:
    """So that neither side holds all of them."""
    tapped = rig.tapped(Desk)
    conn = tapped.conn
    add = conn.root.add
    results: list[Any] = []

    def calls() -> None:
        with conn.batch() as batch:
            for n in range(10_500):
                results.append(batch(add, n, 1))  # noqa: PERF401 - results may be ready meanwhile
                if n == 10_000:
                    assert results[0]._is_ready

    # Eleven, and the peer's extensions.
    assert tapped.count(calls) == 11 + 1
    assert [result.value for result in results] == [n + 1 for n in range(10_500)]


def test_the_wait_has_a_limit(rig: Rig) -> None:
    """A peer that does not answer is noticed as ever."""
    release = threading.Event()
    rig.on_end(release.set)

    class Slow(Desk):
        """Takes its time."""

        def exposed_sleep(self) -> None:
            """Until the test is over."""
            release.wait(10)

    conn = rig.connect(rig.serve(Slow))
    sleep = conn.root.sleep
    assert conn._peer_has("batch")
    conn._config["sync_request_timeout"] = 0.05
    with pytest.raises(TimeoutError), conn.batch() as batch:
        result = batch(sleep)
    conn._config["sync_request_timeout"] = 30
    assert not result._is_ready
    release.set()
    result.wait(5)
    assert result.value is None


def test_the_end_of_the_connection_ends_all_results(conn: Any) -> None:
    """Those that are not there yet: nobody waits for ever."""
    note, hang_up = conn.root.note, conn.root.hang_up
    with pytest.raises(EOFError), conn.batch() as batch:
        results = [batch(note, 1), batch(hang_up), batch(note, 2)]
    for result in results[1:]:
        assert result._is_ready
        with pytest.raises(EOFError):
            result.value  # noqa: B018 - raises


def test_a_closed_connection_takes_no_batch(conn: Any) -> None:
    """The one who sends is told, and so are the results."""
    add = conn.root.add
    with pytest.raises(EOFError), conn.batch() as batch:
        result = batch(add, 1, 1)
        conn.close()
    with pytest.raises(EOFError):
        result.value  # noqa: B018 - raises


@pytest.mark.parametrize(("name", "key"), [
    ("KeyboardInterrupt", "propagate_KeyboardInterrupt_locally"),
    ("SystemExit", "propagate_SystemExit_locally"),
])
def test_exceptions_that_stay_local_do(rig: Rig, name: str, key: str) -> None:
    """They end the serving loop there, as in a single call."""
    pair = rig.pair(Desk, {key: True})
    with pytest.raises(EOFError), pair.client.batch() as batch:
        batch(pair.client.root.add, 1, 1)
        batch(pair.client.root.__getattr__("raise"), name)
    assert type(pair.ended.exception(10)).__name__ == name


@pytest.mark.skipif(PYTHON_PATH, reason="there all connections override something")
def test_a_program_that_overrides_calls_sees_each(rig: Rig) -> None:
    """Its handlers are asked for each call of a batch."""
    seen = []

    class Watching(rpyc.Connection):
        """Notes calls."""

        def _handle_call(self, obj: Any, args: Any, kwargs: Any = ()) -> Any:
            seen.append(tuple(args))
            return super()._handle_call(obj, args, kwargs)

    conn = rig.connect(rig.serve(type("Watched", (Desk,), {"_protocol": Watching})))
    add = conn.root.add
    with conn.batch() as batch:
        results = [batch(add, n, 1) for n in range(3)]
    assert [result.value for result in results] == [1, 2, 3]
    assert seen == [(0, 1), (1, 1), (2, 1)]


def test_the_owners_rules_hold(conn: Any) -> None:
    """A call by name asks for the attribute first."""
    with pytest.raises(AttributeError):
        conn.sync_request(consts.HANDLE_BATCH, (conn.root, (), (), "_secret"))[1].fail()
    values, failures = conn.sync_request(
        consts.HANDLE_BATCH, (conn.root, (), (), "asked"), (conn.root, (1, 2), (), "add"), (conn.root, (1, 2), (), "_x")
    )
    assert failures == (0, 2)
    assert values[1] == 3
    assert values[0][0][1] == values[2][0][1] == "AttributeError"


@pytest.mark.parametrize("call", [(), (1,), (1, 2, 3, 4, 5), 7, None, "abc"])
def test_a_malformed_call_is_an_error(conn: Any, call: Any) -> None:
    """And nothing worse."""
    try:
        _, failures = conn.sync_request(consts.HANDLE_BATCH, call)
        assert failures == (0,)
    except (TypeError, ValueError):
        pass
    assert conn.root.add(1, 1) == 2


def test_threads_have_batches_of_their_own(conn: Any) -> None:
    """At the same time, on one connection."""

    def work(base: int) -> list[int]:
        with conn.batch() as batch:
            results = [batch(conn.root.add, base, n) for n in range(300)]
        return [result.value for result in results]

    futures = [in_thread(lambda base=base: work(base)) for base in range(4)]  # type: ignore[misc]
    assert [future.result(20) for future in futures] == [[base + n for n in range(300)] for base in range(4)]
