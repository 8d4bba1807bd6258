"""Items of remote iterators, read ahead: fewer messages, and nothing else that a program could notice."""

from __future__ import annotations

import itertools
import operator
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Rig, eventually, in_thread, in_threads

import rpyc
from rpyc.core import brine, consts

PYTHON_PATH = bool(os.environ.get("RPYC_TEST_PYTHON_PATH"))
native_only = pytest.mark.skipif(PYTHON_PATH, reason="the Python path reads nothing ahead")

# Long enough for any test: then only messages make items worthless.
FOR_EVER = 600.0


class Item:
    """An object that travels by reference."""

    def __init__(self, name: str) -> None:
        self.exposed_name = name


class Containers(rpyc.Service):
    """Makes containers and iterators, and changes containers."""

    def exposed_make(self, kind: str, size: int, by_reference: bool = False) -> Any:
        """A container with `size` items."""
        items: list[Any] = [Item(f"item {n}") if by_reference else n * 7 for n in range(size)]
        makers: dict[str, Callable[[], Any]] = {
            "list": lambda: items,
            "tuple": lambda: type("Holder", (tuple,), {})(items),
            "dict": lambda: dict(enumerate(items)),
            "set": lambda: set(items),
            "frozenset": lambda: type("Holder", (frozenset,), {})(items),
            "range": lambda: range(5, 5 + 3 * size, 3),
            "bytearray": lambda: bytearray(n % 256 for n in range(size)),
            "list subclass": lambda: type("Holder", (list,), {})(items),
        }
        return makers[kind]()

    def exposed_iterate(self, container: Any, how: str) -> Any:
        """An iterator of a container."""
        if how == "items":
            return iter(container.items())
        if how == "values":
            return iter(container.values())
        return reversed(container) if how == "reversed" else iter(container)

    def exposed_generate(self, container: Any, tell: Any) -> Any:
        """A generator that tells how far it is."""
        for item in container:
            tell(item)
            yield item

    def exposed_change(self, container: Any, operation: str, *args: Any) -> Any:
        """Call a function of `operator`, or a method of the container."""
        if hasattr(operator, operation):
            return getattr(operator, operation)(container, *args)
        result = getattr(container, operation)(*args)
        return describe(result)

    def exposed_consume(self, iterator: Any, count: int) -> Any:
        """The next items of an iterator, as text."""
        return tuple(describe(item) for item in itertools.islice(iterator, count))

    def exposed_hint(self, iterator: Any) -> int:
        """How many items an iterator thinks it has left."""
        return operator.length_hint(iterator)

    def exposed_apply(self, function: Any, *args: Any) -> Any:
        """Call back."""
        return function(*args)

    def exposed_same(self, value: Any) -> Any:
        """The argument."""
        return value


def describe(value: Any) -> Any:
    """What a value is, wherever it lives."""
    if isinstance(value, tuple):
        return tuple(describe(part) for part in value)
    return value.exposed_name if isinstance(value, Item) or hasattr(value, "exposed_name") else value


# Requests are counted.


@native_only
@pytest.mark.parametrize("read", [list, tuple, sum, lambda items: [-item for item in items], lambda items: set(iter(items))])
def test_a_remote_list_of_a_thousand_items_takes_eight_requests(rig: Rig, read: Callable[[Any], Any]) -> None:
    """Asking for the peer's extensions included."""
    tapped = rig.tapped(Containers, read_ahead=FOR_EVER)
    remote = tapped.conn.root.make("list", 1000)
    results: list[Any] = []
    assert tapped.count(lambda: results.append(read(remote))) <= 8
    assert results == [read([n * 7 for n in range(1000)])]
    assert tapped.count(lambda: read(remote)) <= 7


@native_only
@pytest.mark.parametrize("kind", ["tuple", "dict", "set", "frozenset", "range", "bytearray", "list subclass"])
def test_other_containers_do_too(rig: Rig, kind: str) -> None:
    """Their iterators are builtin. One more request: the inspection of the iterator's class."""
    tapped = rig.tapped(Containers, read_ahead=FOR_EVER)
    remote = tapped.conn.root.make(kind, 1000)
    results: list[Any] = []
    assert tapped.count(lambda: results.append(list(remote))) <= 9
    assert results == [list(Containers().exposed_make(kind, 1000))]


@native_only
def test_references_come_in_one_message(rig: Rig) -> None:
    """A thousand proxies: as many requests as for numbers, and one inspection of their class."""
    tapped = rig.tapped(Containers, read_ahead=FOR_EVER)
    remote = tapped.conn.root.make("list", 1000, True)
    kept: list[Any] = []
    assert tapped.count(lambda: kept.extend(remote)) <= 9
    assert [item.name for item in kept[:2]] == ["item 0", "item 1"]
    assert len(set(map(id, kept))) == 1000


@native_only
def test_two_hundred_instances_of_a_class_take_two_requests(rig: Rig) -> None:
    """The call, and one inspection of the class."""

    class Fleet(rpyc.Service):
        """Has instances of one class."""

        def exposed_items(self) -> tuple[Item, ...]:
            """Two hundred of them."""
            return tuple(Item(f"item {n}") for n in range(200))

    tapped = rig.tapped(Fleet)
    items = tapped.conn.root.items
    kept: list[Any] = []
    assert tapped.count(lambda: kept.extend(items())) == 2
    assert tapped.count(lambda: kept.extend(items())) == 1
    assert len(kept) == 400
    assert len({type(item) for item in kept}) == 1


def test_thread_bound_connections_read_ahead_too(rig: Rig) -> None:
    """Their requests for items go to the addressed thread, like all."""
    root = rig.pair(Containers, {"bind_threads": True}, client_config={"bind_threads": True}).client.root
    remote = root.make("list", 1000)
    assert list(remote) == [n * 7 for n in range(1000)]
    iterator = iter(remote)
    assert [next(iterator), root.apply(lambda: next(iterator)), next(iterator)] == [0, 7, 14]


@native_only
def test_nothing_is_read_ahead_of_generators(rig: Rig) -> None:
    """Their code runs when an item is asked for, and not before."""
    tapped = rig.tapped(Containers, read_ahead=FOR_EVER)
    root = tapped.conn.root
    seen: list[Any] = []
    remote = root.make("list", 100)
    generator = root.generate(remote, seen.append)
    for expected in range(5):
        assert next(generator) == expected * 7
        assert len(seen) == expected + 1


@native_only
def test_a_message_per_item_stops_it(rig: Rig) -> None:
    """Then an item costs what it costs without reading ahead."""
    tapped = rig.tapped(Containers, read_ahead=FOR_EVER)
    remote = tapped.conn.root.make("list", 50)

    def loop() -> None:
        for number, item in enumerate(remote):
            assert remote[number] == item

    assert tapped.count(loop) <= 2 * 50 + 5


@pytest.mark.parametrize("limit", [0, 0.0, None])
def test_the_configuration_turns_it_off(rig: Rig, limit: float | None) -> None:
    """One request per item, and no question about extensions."""
    tapped = rig.tapped(Containers, read_ahead=limit)
    remote = tapped.conn.root.make("list", 20)
    assert tapped.count(lambda: list(remote)) == 1 + 1 + 20 + 1
    assert not tapped.conn._knows_features


# The same program, three times: with local objects, reading ahead, and not.


class Local:
    """What a root looks like, without a connection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(Containers(), f"exposed_{name}")


def attempt(function: Callable[[], Any]) -> Any:
    """What a function returns, or the exception that it raises."""
    try:
        return describe(function())
    except Exception as error:
        return type(error).__name__.rpartition(".")[2], str(error).partition("\n")[0]


CHANGES: dict[str, list[tuple[Any, ...]]] = {
    "list": [
        *[("append", -1), ("insert", 0, -2), ("pop",), ("pop", 0), ("setitem", 0, -3), ("setitem", -1, -4), ("clear",)],
        *[("extend", (-5,) * 40), ("reverse",), ("delitem", slice(0, 5)), ("sort",)],
    ],
    "dict": [("setitem", 0, -1), ("setitem", 1000, -2), ("pop", 1, None), ("clear",), ("popitem",)],
    "set": [("add", -1), ("add", 0), ("discard", 7), ("clear",), ("pop",)],
    "bytearray": [("append", 1), ("setitem", 0, 2), ("clear",), ("extend", b"abc" * 20)],
    "range": [],
    "tuple": [],
}
WAYS = {
    "list": ["iter", "reversed"],
    "dict": ["iter", "items", "values", "reversed"],
    "set": ["iter"],
    "bytearray": ["iter"],
    "range": ["iter", "reversed"],
    "tuple": ["iter"],
}


def play(root: Any, seed: int) -> Iterator[Any]:
    """A program made of dice: iterators of one container, moved on while the container changes."""
    dice = random.Random(seed)
    kind = dice.choice(list(WAYS))
    container = root.make(kind, dice.choice([0, 1, 5, 40, 300]), kind in ("list", "dict") and dice.random() < 0.3)
    iterators = [root.iterate(container, dice.choice(WAYS[kind])) for _ in range(dice.choice([1, 1, 2]))]
    structural = False
    for _ in range(25):
        iterator = dice.choice(iterators)
        match dice.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                for _ in range(dice.choice([1, 2, 3, 17, 60])):
                    yield attempt(lambda: next(iterator))
                structural = False
            case 5 | 6 if CHANGES[kind] and not (structural and kind in ("dict", "set")):
                # A dict that grows and shrinks between two items gives what it likes, by Python's rules.
                change = dice.choice(CHANGES[kind])
                yield change[0], attempt(lambda: root.change(container, *change))
                structural = True
            case 7:
                yield "consume", attempt(lambda: root.consume(iterator, dice.choice([0, 1, 5])))
            case 8:
                yield "hint", attempt(lambda: root.hint(iterator))
            case 9:
                yield "callback", attempt(lambda: root.apply(lambda: describe(next(iterator))))


SEEDS = 120


@pytest.mark.parametrize("limit", [FOR_EVER, 0, 0.000_001])
def test_a_generated_program_gives_what_it_gives_locally(rig: Rig, limit: float) -> None:
    """Whatever changes when: items, ends and errors are those of local iterators."""
    root = rig.pair(Containers, client_config={"read_ahead": limit}).client.root
    for seed in range(SEEDS):
        here, there = list(play(Local(), seed)), list(play(root, seed))
        assert there == here, f"seed {seed}"


# One by one, what that relies on.


def test_a_list_that_grows_is_seen_growing(rig: Rig) -> None:
    """Up to its end and beyond what was its end."""
    root = rig.pair(Containers, client_config={"read_ahead": FOR_EVER}).client.root
    remote = root.make("list", 30)
    seen = []
    for item in remote:
        seen.append(item)
        if len(seen) == 30:
            root.change(remote, "append", -1)
    assert seen == [*(n * 7 for n in range(30)), -1]


def test_the_end_stays_the_end(rig: Rig) -> None:
    """An iterator that was exhausted does not come back to life."""
    root = rig.pair(Containers, client_config={"read_ahead": FOR_EVER}).client.root
    remote = root.make("list", 3)
    iterator = iter(remote)
    assert list(iterator) == [0, 7, 14]
    root.change(remote, "append", 21)
    assert list(iterator) == []
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_changed_dict_is_an_error(rig: Rig) -> None:
    """The one that a local dict raises."""
    root = rig.pair(Containers, client_config={"read_ahead": FOR_EVER}).client.root
    remote = root.make("dict", 30)
    iterator = iter(remote)
    assert [next(iterator) for _ in range(5)] == [0, 1, 2, 3, 4]
    remote[100] = 1
    with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
        next(iterator)


def test_changes_announced_by_the_peer_are_seen(rig: Rig) -> None:
    """The peer changes the list on its own, and tells by calling back: what was read before is worthless."""
    pair = rig.pair(Containers, client_config={"read_ahead": FOR_EVER}, client_service=Containers)
    remote = pair.client.root.make("list", 30)
    iterator = iter(remote)
    assert [next(iterator) for _ in range(3)] == [0, 7, 14]
    mine = next(obj for _, obj in served_objects(pair.server) if type(obj) is list)
    mine[3:] = ["changed"]

    told = in_thread(lambda: pair.server.root.same(1))
    while not told.done():
        pair.client.serve(0.1)
    assert next(iterator) == "changed"


@native_only
def test_a_message_that_comes_before_the_items_makes_them_worthless(rig: Rig) -> None:
    """They may have been read before what the message is about."""
    peer = rig.raw(rpyc.VoidService, {"read_ahead": FOR_EVER})

    def expect(handler: int) -> tuple[int, Any]:
        payload = peer.receive()
        assert payload is not None
        seq, (got, args) = brine.load(payload[1:])
        assert got == handler
        return seq, args

    def answer(seq: int, boxed: Any) -> None:
        peer.send(bytes([consts.MSG_REPLY]) + brine.dump((seq, boxed)))

    reading = in_thread(lambda: next(peer.conn.root))
    answer(expect(consts.HANDLE_GETROOT)[0], (consts.LABEL_REMOTE_REF, ("builtins.list_iterator", 1, 5)))
    answer(expect(consts.HANDLE_FEATURES)[0], (consts.LABEL_VALUE, ("read_ahead",)))
    seq, _ = expect(consts.HANDLE_READ_AHEAD)
    peer.send(bytes([consts.MSG_REQUEST]) + brine.dump((7, (consts.HANDLE_PING, (consts.LABEL_VALUE, ("news",))))))
    assert peer.receive() == bytes([consts.MSG_REPLY]) + brine.dump((7, (consts.LABEL_VALUE, "news")))
    answer(seq, (consts.LABEL_VALUE, (True, (1, 2, 3))))
    assert reading.result(5) == 1
    reading = in_thread(lambda: next(peer.conn.root))
    seq, (_, arguments) = expect(consts.HANDLE_READ_AHEAD)
    assert arguments[1][1] == 0, "an item that was not used is skipped"
    answer(seq, (consts.LABEL_VALUE, (True, ("fresh", "unused", "used"))))
    assert reading.result(5) == "fresh"
    assert next(peer.conn.root) == "unused"
    reading = in_thread(lambda: peer.conn.ping())
    _, (_, arguments) = expect(consts.HANDLE_READ_AHEAD)
    assert [argument[1] for argument in arguments[1:]] == [1, 0], "the peer is told of the one that was used"
    answer(expect(consts.HANDLE_PING)[0], (consts.LABEL_VALUE, "abcdefghijklmnopqrstuvwxyz" * 20))
    reading.result(5)


def served_objects(conn: Any) -> Iterator[tuple[Any, Any]]:
    """The objects that the peer of a connection refers to."""
    for pack, (obj, _) in conn._local_objects._dict.items():
        yield pack, obj


def test_changes_behind_the_connections_back_are_seen_after_a_while(rig: Rig) -> None:
    """No message tells of them. The configuration says how long they may go unnoticed."""
    pair = rig.pair(Containers, client_config={"read_ahead": 0.02})
    remote = pair.client.root.make("list", 30)
    iterator = iter(remote)
    assert next(iterator) == 0
    mine = next(obj for _, obj in served_objects(pair.server) if type(obj) is list)
    mine[1:] = ["changed"]
    time.sleep(0.03)
    assert next(iterator) == "changed"


def test_an_iterator_that_the_peer_uses_too_is_not_read_ahead(rig: Rig) -> None:
    """A queue of jobs, say: what one takes no other gets."""

    class Jobs(rpyc.Service):
        """One iterator for all."""

        jobs = iter(list(range(100)))

        def exposed_jobs(self) -> Any:
            """The iterator."""
            return self.jobs

    server = rig.serve(Jobs)
    first, second = (rig.connect(server, read_ahead=FOR_EVER).root.jobs() for _ in range(2))
    assert [next(jobs) for jobs in (first, second, first, second)] == [0, 1, 2, 3]
    assert next(Jobs.jobs) == 4
    assert next(first) == 5


def test_an_iterator_that_is_handed_over_is_where_it_should_be(rig: Rig) -> None:
    """The peer keeps it, and goes on with it; so does this side."""

    class Keeper(Containers):
        """Keeps an iterator."""

        kept: Any = None

        def exposed_keep(self, iterator: Any) -> None:
            """Keep it."""
            type(self).kept = iterator

    root = rig.pair(Keeper, client_config={"read_ahead": FOR_EVER}).client.root
    iterator = iter(root.make("list", 30))
    assert [next(iterator) for _ in range(5)] == [0, 7, 14, 21, 28]
    root.keep(iterator)
    assert next(Keeper.kept) == 35
    assert next(iterator) == 42
    assert next(Keeper.kept) == 49


def test_items_live_no_longer_than_without(rig: Rig) -> None:
    """What was read ahead and is removed from the list dies at once."""
    pair = rig.pair(Containers, client_config={"read_ahead": FOR_EVER})
    remote = pair.client.root.make("list", 10, True)
    mine = next(obj for _, obj in served_objects(pair.server) if type(obj) is list)
    last = weakref.ref(mine[-1])
    iterator = iter(remote)
    assert next(iterator).name == "item 0"
    pair.client.root.change(remote, "delitem", -1)
    assert eventually(lambda: last() is None)
    assert len(list(iterator)) == 8


def test_an_item_that_can_not_travel_fails_alone(rig: Rig) -> None:
    """Those before it arrive, and those after it too."""

    class Odd(rpyc.Service):
        """Has a number that is too long for any message."""

        def exposed_numbers(self) -> Any:
            """Six small ones, and one of five thousand digits in between."""
            return [1, 2, 3, 10**5000, 4, 5, 6]

    iterator = iter(rig.pair(Odd, client_config={"read_ahead": FOR_EVER}).client.root.numbers())
    assert [next(iterator) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="digits"):
        next(iterator)
    assert list(iterator) == [4, 5, 6]


def test_the_owners_rules_hold(rig: Rig) -> None:
    """Whoever may not call `__next__` may not read ahead either."""
    pair = rig.pair(Containers, {"allow_safe_attrs": True}, client_config={"read_ahead": FOR_EVER})
    iterator = iter(pair.client.root.make("list", 30))
    pair.server._config["allow_safe_attrs"] = False
    with pytest.raises(AttributeError, match="__next__"):
        next(iterator)


def test_a_program_that_overrides_calls_sees_each_item(rig: Rig) -> None:
    """Its handler is asked for each."""
    seen = []

    class Watching(rpyc.Connection):
        """Notes the methods that are called."""

        def _handle_callattr(self, obj: Any, name: Any, args: Any, kwargs: Any = ()) -> Any:
            seen.append(name)
            return super()._handle_callattr(obj, name, args, kwargs)

    class Watched(Containers):
        """Served by such connections."""

        _protocol = Watching

    conn = rig.connect(rig.serve(Watched), read_ahead=FOR_EVER)
    assert list(conn.root.make("list", 5)) == [0, 7, 14, 21, 28]
    assert seen.count("__next__") == 6


def test_threads_that_share_an_iterator_get_each_item_once(rig: Rig) -> None:
    """As with a local iterator."""
    root = rig.connect(rig.serve(Containers), read_ahead=FOR_EVER).root
    iterator = iter(root.make("list", 3000))
    start = threading.Barrier(4)

    def take() -> list[int]:
        start.wait(5)
        return list(iterator)

    taken = in_threads(*[take] * 4)
    assert sorted(itertools.chain(*taken)) == [n * 7 for n in range(3000)]
    assert all(part == sorted(part) for part in taken)


def test_an_iterator_that_dies_half_used_is_released(rig: Rig) -> None:
    """And so are the items that were not used."""
    pair = rig.pair(Containers, client_config={"read_ahead": FOR_EVER})
    remote = pair.client.root.make("list", 10, True)
    iterator = iter(remote)
    next(iterator)
    assert len(dict(served_objects(pair.server))) > 2
    del iterator, remote

    def left() -> bool:
        return not any(type(obj) in (list, Item) for _, obj in served_objects(pair.server))

    assert eventually(left)


@native_only
def test_numbers_of_items_have_limits(rig: Rig) -> None:
    """A peer can't make this side skip for ever."""
    pair = rig.pair(Containers, client_config={"read_ahead": FOR_EVER})
    iterator = iter(pair.client.root.make("range", 10))
    for skip, count in [(-1, 1), (1 << 21, 1), (0, 1 << 21), ("1", 1), (0, None)]:
        with pytest.raises(ValueError, match="a number of items"):
            pair.client.sync_request(consts.HANDLE_READ_AHEAD, iterator, skip, count)
    assert next(iterator) == 5
