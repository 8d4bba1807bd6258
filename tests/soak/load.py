"""What the soak's clients do: threads that call, each over one route, and what they count."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rpyc

# Ends of a call that a faulty route may have.
SURVIVED = (EOFError, TimeoutError, OSError)


@dataclass
class Route:
    """A way to a server: how to connect, and whether faults are made on it."""

    name: str
    connect: Callable[[], Any]
    faulty: bool
    calls: int = 0
    faults: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, calls: int) -> None:
        """Note calls that were answered."""
        with self.lock:
            self.calls += calls


def work(route: Route, client: rpyc.ReconnectingClient, ended: threading.Event, seed: int) -> None:
    """Call until the end. Several threads share the client of a route."""
    rng = random.Random(seed)
    while not ended.is_set():
        try:
            root = client.root
            while not ended.is_set():
                one_round(route, root, rng)
        except SURVIVED as error:
            if not route.faulty:
                route.wrong.append(f"{error!r}")
                return
            with route.lock:
                route.faults += 1
        except BaseException as error:
            route.wrong.append(f"{error!r}")
            raise


def one_round(route: Route, root: Any, rng: random.Random) -> None:
    """Some calls of each kind; AssertionError if an answer is not the one to its question."""
    number = rng.randrange(1 << 60)
    assert root.same(number) == number
    assert root.call(lambda value: root.same(value) + 1, number) == number + 1
    route.count(3)
    data = rng.randbytes(rng.choice([10, 1000, 100_000]))
    assert root.same(data) == data
    route.count(1)
    things = [root.make() for _ in range(rng.randrange(8))]
    for thing in things:
        assert thing.number == 0
        assert root.same(thing) is thing
    route.count(2 * len(things))
    same = rpyc.async_(root.same)
    results = [same(n) for n in range(rng.randrange(20))]
    assert [result.value for result in results] == list(range(len(results)))
    route.count(len(results))
    try:
        root.fail(str(number))
    except ValueError as error:
        assert error.args == (str(number),)
    else:
        raise AssertionError("no ValueError")
    route.count(1)
