"""Calls in both directions: arguments, callbacks, iteration, context managers, asynchronous results, time limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import rpyc

from .registry import raises, scenario


class ClientService(rpyc.Service):
    """What a client offers to its server."""

    ALIASES = ["client_side"]

    def exposed_double(self, value: int) -> int:
        """Twice the value."""
        return value * 2

    def exposed_refuse(self) -> None:
        """Fail on the client."""
        raise LookupError("refused here")


@scenario
def arguments(peer: Any) -> None:
    """Positional and keyword arguments, and wrong ones."""
    root = peer.connect().root
    assert root.echo() == ((), ())
    assert root.echo(1, "two", b"three", None, k=4, z=(5, 6)) == ((1, "two", b"three", None), (("k", 4), ("z", (5, 6))))
    assert root.echo(*range(300))[0] == tuple(range(300))
    assert root.shelf()(1, a=2) == ((1,), (("a", 2),))
    raises(TypeError, root.same)
    raises(TypeError, root.same, 1, 2)
    raises(TypeError, root.same, nothing=1)


@scenario
def method_objects(peer: Any) -> None:
    """A method that is fetched once and called often."""
    root = peer.connect().root
    echo, put = root.echo, root.shelf().put
    assert [echo(n)[0] for n in range(20)] == [(n,) for n in range(20)]
    assert [put(n) for n in range(3)] == [1, 2, 3]


@scenario
def batches(peer: Any) -> None:
    """Calls that go out together: an extension of one of the packages, with servers of either."""
    conn = peer.connect()
    if not hasattr(conn, "batch"):
        return
    root, seen = conn.root, []
    with conn.batch() as batch:
        results = [batch(root.echo, n, key=n) for n in range(200)]
        failing = batch(root.same)
        calling_back = batch(root.apply, seen.append, 1)
    assert [result.value for result in results] == [((n,), (("key", n),)) for n in range(200)]
    assert failing.error
    raises(TypeError, lambda: failing.value)
    assert calling_back.value is None
    assert seen == [1]


@scenario
def iteration_of_containers(peer: Any) -> None:
    """Remote containers, read whole and with a loop that changes them."""
    root = peer.connect().root
    items = root.list(*range(300))
    assert list(items) == list(range(300))
    assert sorted(root.dict(a=1, b=2, c=3)) == ["a", "b", "c"]
    seen = []
    for item in items:
        seen.append(item)
        if item == 299:
            root.append(items, "the end")
    assert seen == [*range(300), "the end"]
    iterator = iter(items)
    assert [next(iterator) for _ in range(3)] == [0, 1, 2]
    assert root.apply(lambda: next(iterator)) == 3
    assert root.same(iterator) is iterator
    assert next(iterator) == 4


@scenario
def callbacks(peer: Any) -> None:
    """The server calls functions, methods and callable objects of the client's."""
    root = peer.connect().root
    assert root.apply(lambda a, b=2: a + b, 1) == 3
    assert root.apply(lambda a, b=2: a + b, 1, b=5) == 6
    seen: list[int] = []
    for n in range(50):
        root.apply(seen.append, n)
    assert seen == list(range(50))
    assert root.apply(root.same, "there and back") == "there and back"


@scenario
def callbacks_nested(peer: Any) -> None:
    """Six calls deep, three in each direction, and then deeper."""
    conn = peer.connect()
    thread = threading.current_thread()
    elsewhere: list[threading.Thread] = []

    def client(function: Callable[..., Any], depth: int) -> tuple[Any, ...]:
        if threading.current_thread() is not thread:
            elsewhere.append(threading.current_thread())
        return ("client", depth, *function(client, depth - 1)) if depth else ("bottom",)

    def expected(depth: int) -> tuple[Any, ...]:
        sides: list[Any] = []
        for level in range(depth, 0, -1):
            sides += ["server" if (depth - level) % 2 == 0 else "client", level]
        return (*sides, "bottom")

    for depth in (1, 2, 3, 6, 30):
        assert conn.root.bounce(client, depth) == expected(depth), depth
    assert elsewhere == [], "a callback must run in the thread that waits"


@scenario
def server_calls_the_clients_root(peer: Any) -> None:
    """The protocol is symmetric: the client has a service too."""
    conn = peer.connect(service=ClientService)
    assert conn.root.ask_client("double", 21) == 42
    assert conn.root.client_service_name() == "CLIENT_SIDE"
    error = raises(LookupError, conn.root.ask_client, "refuse")
    assert error.args == ("refused here",)
    raises(AttributeError, conn.root.ask_client, "on_connect")


@scenario
def iteration(peer: Any) -> None:
    """Lists, generators and objects of one's own; the end of an iterator is StopIteration."""
    root = peer.connect().root
    assert list(root.list(1, "a", None)) == [1, "a", None]
    assert sum(root.generator(10)) == 285
    assert list(root.shelf(3, 1, 2)) == [3, 1, 2]
    assert sorted(root.dict(b=1, a=2)) == ["a", "b"]
    steps = iter(root.generator(2))
    assert (next(steps), next(steps)) == (0, 1)
    raises(StopIteration, next, steps)
    raises(StopIteration, next, steps)
    first, *rest = root.list(1, 2, 3)
    assert (first, rest) == (1, [2, 3])
    assert tuple(zip(root.list(1, 2), root.generator(2), strict=True)) == ((1, 0), (2, 1))


@scenario
def buffered_iteration(peer: Any) -> None:
    """`buffiter` brings an iteration over in chunks."""
    root = peer.connect().root
    assert list(rpyc.buffiter(root.generator(1000))) == [n * n for n in range(1000)]
    assert list(rpyc.buffiter(root.generator(5), chunk=2, max_chunk=2, factor=1)) == [0, 1, 4, 9, 16]
    assert list(rpyc.buffiter(root.list())) == []
    shelves = list(rpyc.buffiter(root.list(root.shelf(1), root.shelf(2))))
    assert [shelf[0] for shelf in shelves] == [1, 2]


@scenario
def client_iterators(peer: Any) -> None:
    """The server consumes a generator of the client's."""
    root = peer.connect().root
    assert root.apply(sum, (n for n in range(5))) == 10
    shelf = root.shelf(*(n for n in range(4)))
    assert list(shelf) == [0, 1, 2, 3]


@scenario
def context_managers(peer: Any) -> None:
    """A remote `with`, left cleanly and by an exception."""
    root = peer.connect(allow_public_attrs=True).root
    guard = root.guard(False)
    with guard as entered:
        assert entered == "entered"
    assert guard.seen == ("enter", "clean")

    def failing(manager: Any) -> str:
        with manager:
            raise ValueError("inside")
        return "swallowed"

    error = raises(ValueError, failing, guard)
    assert error.args == ("inside",)
    assert guard.seen[-1] == "failed"
    assert failing(root.guard(True)) == "swallowed"
    seen: list[str] = []
    with root.apply(root.managed, seen) as entered:
        assert (entered, seen) == ("managed", [])
    assert seen == ["left"]


@scenario
def asynchronous_results(peer: Any) -> None:
    """Many requests under way at once, each with its own answer."""
    conn = peer.connect()
    echo = rpyc.async_(conn.root.same)
    results = [echo(n) for n in range(200)]
    assert [result.value for result in results] == list(range(200))
    assert all(result.ready and not result.error for result in results)

    done: list[Any] = []
    result = echo("late")
    result.add_callback(lambda finished: done.append(finished.value))
    result.wait()
    assert done == ["late"]
    result.add_callback(lambda finished: done.append("at once"))
    assert done == ["late", "at once"]


@scenario
def asynchronous_failures(peer: Any) -> None:
    """An asynchronous call that fails keeps its exception for whoever reads the value."""
    conn = peer.connect()
    result = rpyc.async_(conn.root.__getattr__("raise"))("ValueError", "later")
    result.wait()
    assert result.ready and result.error and not result.expired
    assert raises(ValueError, lambda: result.value) is raises(ValueError, lambda: result.value)


@scenario
def asynchronous_callbacks(peer: Any) -> None:
    """Requests under way at once that all call back."""
    conn = peer.connect()
    apply = rpyc.async_(conn.root.apply)
    results = [apply(lambda n: n + 1, n) for n in range(40)]
    assert [result.value for result in results] == list(range(1, 41))


@scenario
def time_limits(peer: Any) -> None:
    """A call that takes too long is given up; its late answer is dropped and the connection goes on."""
    conn = peer.connect()
    root, sleep = conn.root, conn.root.sleep
    conn._config["sync_request_timeout"] = 0.1
    raises(rpyc.AsyncResultTimeout, sleep, 0.6)
    conn._config["sync_request_timeout"] = 20
    assert root.same("after") == "after"

    result = rpyc.async_(sleep)(0.6)
    result.set_expiry(0.1)
    raises(rpyc.AsyncResultTimeout, result.wait)
    assert result.expired and not result.ready
    raises(TimeoutError, lambda: rpyc.timed(sleep, 0.1)(0.4).value)
    assert rpyc.timed(sleep, 20)(0).value == 0


@scenario
def threads_share_a_connection(peer: Any) -> None:
    """Four client threads call, and are called back, over one connection."""
    conn = peer.connect()
    same, apply = conn.root.same, conn.root.apply
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            for n in range(base, base + 15):
                assert same(n) == n
                assert apply(lambda v: -v, n) == -n
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * k,), daemon=True) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@scenario
def thread_bound_mode(peer: Any) -> None:
    """With thread ids on the wire: calls, nested callbacks in the calling thread, failures, releases."""
    conn = peer.connect("bound", bind_threads=True)
    root, caller = conn.root, threading.get_ident()

    def client(function: Callable[..., Any], depth: int) -> tuple[Any, ...]:
        assert threading.get_ident() == caller
        return ("client", depth, *function(client, depth - 1)) if depth else ("bottom",)

    assert root.echo(1, k=2) == ((1,), (("k", 2),))
    assert root.bounce(client, 4) == ("server", 4, "client", 3, "server", 2, "client", 1, "bottom")
    raises(ValueError, getattr(root, "raise"), "ValueError", "bound")
    assert [root.shelf(n)[0] for n in range(10)] == list(range(10))
    assert root.size(b"q" * 100000) == 100000
    conn.ping()
