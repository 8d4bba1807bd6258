"""Plain values and references: what goes by value, what by reference, and how large either may be."""

from __future__ import annotations

import collections
import enum
import math
import os
from typing import Any

from .registry import raises, scenario

SMALL_INTS = [-257, -129, -49, -48, -47, -1, 0, 1, 47, 48, 79, 80, 158, 159, 160, 161, 255, 256, 65535, 65536]
LARGE_INTS = [sign * 2**bits + step for bits in (31, 32, 63, 64, 128, 1000) for sign in (1, -1) for step in (-1, 0, 1)]
# Decimal text of 254, 255, 256 and more characters: the length changes its form at 256.
LONG_INTS = [10**253, 10**254, 10**255, -(10**253), -(10**254), -(10**255), 10**4000]
FLOATS = [0.0, -0.0, 1.5, -2.25, 1e308, 5e-324, math.inf, -math.inf]
LENGTHS = [0, 1, 2, 3, 4, 5, 6, 254, 255, 256, 257, 300, 2999, 3000, 3001, 63993, 63994, 63995, 64000, 64001, 70000]


class Color(enum.IntEnum):
    """An int that is not exactly an int."""

    RED = 1


Pair = collections.namedtuple("Pair", "left right")


class Text(str):
    """A text that is not exactly a str."""


def same(left: Any, right: Any) -> bool:
    """Equal in value and exact type, all the way down; the sign of zero counts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, slice):
        return same((left.start, left.stop, left.step), (right.start, right.stop, right.step))
    if isinstance(left, (float, complex)):
        return repr(left) == repr(right)
    return bool(left == right)


def echoes(root: Any, value: Any) -> None:
    """Assert that the value comes back as it went."""
    (got,), rest = root.echo(value)
    assert rest == ()
    assert same(got, value), f"{value!r:.80} came back as {got!r:.80}"


@scenario
def plain_values(peer: Any) -> None:
    """Every kind of value that has an encoding, at the edges where the encoding changes its form."""
    root = peer.connect().root
    for number in SMALL_INTS + LARGE_INTS + LONG_INTS:
        echoes(root, number)
    for single in (None, True, False, Ellipsis, NotImplemented):
        echoes(root, single)
    for real in FLOATS:
        echoes(root, real)
        echoes(root, complex(real, -1.0))
    assert math.isnan(root.same(math.nan))
    for text in ("", "a", "é", "א", "€" * 86, "\U0001f600", "nul\0", "\uffff", "line\nbreak", "\x7f\x80"):
        echoes(root, text)
    for interval in (slice(None), slice(1), slice(1, 2, 3), slice("a", (1, None), ...), slice(slice(1), None, -1)):
        echoes(root, interval)
    for members in ((), (1,), (1, "a", b"b", None, 1.5), ((1, 2), frozenset([3])), range(300)):
        echoes(root, frozenset(members))


@scenario
def nested_tuples(peer: Any) -> None:
    """Tuples of every length form, deep ones, and one with a bit of everything."""
    root = peer.connect().root
    for length in (0, 1, 2, 3, 4, 5, 255, 256, 300):
        echoes(root, tuple(range(length)))
    deep: tuple[Any, ...] = ()
    for level in range(60):
        deep = (level, deep)
    echoes(root, deep)
    echoes(root, (b"m", -3, "x", 4711, (), None, False, ..., 0.25, 2.5 - 1j, slice(9, None, -2), frozenset([3]), (1, (2,))))


@scenario
def lengths_of_text_and_bytes(peer: Any) -> None:
    """Each length form, and both sides of the compression threshold and of the largest single write."""
    root = peer.connect().root
    for length in LENGTHS:
        echoes(root, b"a" * length)
        echoes(root, os.urandom(length))
        echoes(root, "€" * (length // 3) + "x" * (length % 3))


@scenario
def sixteen_mebibytes(peer: Any) -> None:
    """A large random block goes and comes back unharmed."""
    root = peer.connect().root
    block = os.urandom(16 * 2**20)
    assert root.same(block) == block


@scenario
def compressible_payloads(peer: Any) -> None:
    """Data that shrinks, in both directions."""
    root = peer.connect().root
    assert root.blob(5 * 2**20) == b"z" * (5 * 2**20)
    assert root.size("y" * (5 * 2**20)) == 5 * 2**20
    many = tuple(range(20000))
    assert root.same(many) == many


@scenario
def own_objects_come_back_as_themselves(peer: Any) -> None:
    """What travels by reference is unwrapped at home: the same object, not a copy and not a proxy."""
    root = peer.connect().root
    objects: list[Any] = [[], {}, set(), bytearray(b"x"), object(), object, len, math, Color.RED, Pair(1, 2), Text("t")]
    objects += [lambda: None, iter(()), ValueError("v"), frozenset([object])]
    for thing in objects:
        assert root.same(thing) is thing, thing
    inside = root.same((1, (thing := objects[0], "two")))
    assert inside[1][0] is thing
    assert root.thrice(thing)[2] is thing


@scenario
def client_objects_are_used_by_the_server(peer: Any) -> None:
    """The server works on a list and a dict of the client's."""
    root = peer.connect(allow_public_attrs=True).root
    target: list[Any] = []
    root.append(target, 5)
    root.append(target, "six")
    assert target == [5, "six"]
    assert root.isinstance(target, list)
    assert root.size({"a": 1, "b": 2}) == 2
    root.keep(target)
    assert root.kept() is target
    root.drop()
    assert root.kept() is None


@scenario
def unencodable_arguments_leave_the_connection_usable(peer: Any) -> None:
    """A lone surrogate has no UTF-8 form: the caller is told, and the next call works."""
    root = peer.connect().root
    raises(UnicodeEncodeError, root.echo, "\ud800")
    echoes(root, "fine")
