"""Proxies: attributes and their refusal, operators, identity, classes, copies."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Iterable
from typing import Any

import rpyc
from rpyc.core.netref import BaseNetref

from .registry import raises, scenario


@scenario
def attributes_by_default(peer: Any) -> None:
    """Exposed names by both spellings; everything else is refused, reading as well as writing."""
    shelf = peer.connect().root.shelf(1)
    assert shelf.note == shelf.exposed_note == "note"
    assert shelf.label == "shelf"
    assert shelf.both == "exposed twin"
    assert shelf.put(2) == shelf.exposed_put(3) - 1
    for name in ("plain", "_private", "hidden", "missing", "public_label", "__dict__", "__init_subclass__"):
        error = raises(AttributeError, getattr, shelf, name)
        assert f"cannot access {name!r}" in str(error), error
        assert not hasattr(shelf, name)
    raises(AttributeError, setattr, shelf, "note", 1)
    raises(AttributeError, setattr, shelf, "fresh", 1)
    raises(AttributeError, delattr, shelf, "note")
    assert shelf.note == "note"


@scenario
def attributes_when_open(peer: Any) -> None:
    """Public names too, and writing; private names stay refused."""
    root = peer.connect("open").root
    shelf = root.shelf(1)
    assert shelf.plain == 1
    assert shelf.both == "plain twin"
    assert shelf.exposed_both == "exposed twin"
    assert shelf.hidden() == "hidden"
    shelf.plain = 5
    shelf.note = "changed"
    shelf.fresh = "new"
    assert (shelf.plain, shelf.exposed_note, shelf.fresh) == (5, "changed", "new")
    mine = [1]
    shelf.fresh = mine
    assert shelf.fresh is mine
    del shelf.fresh
    raises(AttributeError, delattr, shelf, "fresh")
    for name in ("_private", "__dict__"):
        raises(AttributeError, getattr, shelf, name)
    raises(AttributeError, setattr, shelf, "_private", 1)
    raises(AttributeError, setattr, root, "anything", 1)
    raises(AttributeError, delattr, root, "same")


@scenario
def operators(peer: Any) -> None:
    """Arithmetic, comparison and conversion run on the server."""
    root = peer.connect().root
    seven, three = root.number(7), root.number(3)
    binary = {"add": 10, "sub": 4, "mul": 21, "truediv": 7 / 3, "floordiv": 2, "mod": 1, "pow": 343}
    for name, wanted in binary.items():
        assert getattr(operator, name)(seven, 3) == wanted, name
        assert getattr(operator, name)(seven, three) == wanted, name
    bits = {"lshift": 56, "rshift": 0, "and_": 3, "or_": 7, "xor": 4}
    for name, wanted in bits.items():
        assert getattr(operator, name)(seven, 3) == wanted, name
    assert divmod(seven, 3) == (2, 1)
    assert (10 + seven, 10 - seven) == (17, 3)
    assert (-seven, +seven, abs(-seven), ~seven) == (-7, 7, 7, -8)
    assert (int(seven), float(seven), operator.index(seven)) == (7, 7.0, 7)
    assert bool(seven) and not bool(root.number(0))
    assert format(seven, "03d") == "<007>"
    assert [10, 20, 30][root.number(1)] == 20
    same = seven
    same += 5
    assert same is seven and seven.value == 12
    raises(TypeError, operator.matmul, seven, 3)
    raises(ZeroDivisionError, operator.truediv, seven, 0)


@scenario
def comparison_and_hash(peer: Any) -> None:
    """Equality, order and hash are the remote object's, so a proxy can be a key."""
    root = peer.connect().root
    one, uno, two = root.number(1), root.number(1), root.number(2)
    assert one == uno and one == 1 and one != two and (one != uno) is False
    assert one < two and two > one and one <= uno and two >= uno
    raises(TypeError, operator.lt, one, "text")
    assert one != "text"
    assert hash(one) == hash(uno) != hash(two)
    table = {one: "first"}
    assert table[uno] == "first"
    assert two not in table
    raises(TypeError, hash, root.list())
    assert sorted([two, one])[0] is one


@scenario
def containers(peer: Any) -> None:
    """The item protocol, on an object of one's own and on real lists and dicts."""
    root = peer.connect().root
    shelf = root.shelf("a", "b", "c")
    assert (len(shelf), shelf[0], shelf[-1], shelf[1:]) == (3, "a", "c", ("b", "c"))
    assert "b" in shelf and "z" not in shelf
    shelf[0] = "A"
    del shelf[1]
    assert list(shelf) == ["A", "c"]
    raises(IndexError, operator.getitem, shelf, 9)

    plain = root.list(1, 2, 3)
    assert (len(plain), plain[1], 3 in plain, repr(plain), bool(root.list())) == (3, 2, True, "[1, 2, 3]", False)
    assert list(plain[1:]) == [2, 3]
    assert list(plain + root.list(4)) == [1, 2, 3, 4]
    plain[0] = "x"
    assert plain[0] == "x"
    raises(AttributeError, getattr, plain, "append")

    table = root.dict(a=1, b=2)
    assert (table["a"], len(table), sorted(table)) == (1, 2, ["a", "b"])
    raises(KeyError, operator.getitem, table, "z")
    raises(AttributeError, getattr, table, "keys")


@scenario
def text_forms(peer: Any) -> None:
    """repr, str, dir and doc come from the remote object."""
    root = peer.connect().root
    number, shelf = root.number(4), root.shelf()
    assert (repr(number), str(number), f"{number}") == ("Number(4)", "number 4", "<4>")
    assert {"exposed_put", "exposed_note", "_private", "__len__"} <= set(dir(shelf))
    assert shelf.__doc__.startswith("A container with the whole item protocol")
    assert shelf.put.__doc__ == "Append a value; the new length."
    assert repr(root.module("json")).startswith("<module 'json'")


@scenario
def identity(peer: Any) -> None:
    """One remote object is one proxy while that proxy lives."""
    root = peer.connect().root
    shelf = root.shelf(1)
    assert root.same(shelf) is shelf
    assert all(item is shelf for item in root.thrice(shelf))
    assert root.list(shelf)[0] is shelf
    assert root.same((1, (shelf, 2)))[1][0] is shelf
    assert root.same(root) is root


@scenario
def classes(peer: Any) -> None:
    """Remote classes are instantiated, compared and asked."""
    root = peer.connect().root
    shelf_class, number_class = root.shelf_class(), root.number_class()
    shelf = shelf_class("x")
    assert shelf[0] == "x"
    assert isinstance(shelf, shelf_class)
    assert isinstance(root.shelf(), shelf_class)
    assert not isinstance(shelf, number_class)
    raises(TypeError, isinstance, shelf, shelf)
    assert shelf_class is root.shelf_class()
    assert repr(type(shelf)) == "<netref class 'rpyc.core.netref.interop_service.Shelf'>"
    assert repr(shelf_class) == "<class 'interop_service.Shelf'>"


@scenario
def builtin_types(peer: Any) -> None:
    """A proxy of a list passes for a list, and says what it is."""
    root = peer.connect().root
    remote: Any = root.list(1)
    owner, (name, class_id, instance_id) = remote.____conn__, remote.____id_pack__
    kinds: tuple[type, ...] = (list, BaseNetref, Iterable)
    assert all(isinstance(remote, kind) for kind in kinds) and remote.__class__ is list
    assert not isinstance(remote, dict)
    assert str(type(remote)) == "<netref class 'rpyc.core.netref.builtins.list'>"
    assert type(remote).__name__ == "builtins.list" and type(remote).__module__ == "rpyc.core.netref"
    assert isinstance(root.dict(), dict)
    assert root.isinstance(remote, list) and root.isinstance([], list)
    module = root.module("json")
    assert module.__class__ is type(operator)
    assert name == "builtins.list" and class_id > 0 and instance_id > 0
    assert root.shelf_class().____id_pack__[2] == 0
    assert owner.root is root


@scenario
def copies(peer: Any) -> None:
    """With permission a proxy is turned into a real object; without, it is refused."""
    # Ours asks for this side's permission, too: the bytes come from the peer.
    root = peer.connect("open", allow_pickle=True).root
    remote = root.dict(a=1, b=(1, 2))
    for made in (pickle.loads(pickle.dumps(remote)), rpyc.classic.obtain(remote), copy.copy(remote)):
        assert made == {"a": 1, "b": (1, 2)} and type(made) is dict
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(root.list(1, "x"), protocol)) == [1, "x"]
    closed = peer.connect(allow_pickle=True).root.list(1)
    error = raises(ValueError, pickle.dumps, closed)
    assert error.args == ("pickling is disabled",)


@scenario
def restricted_views(peer: Any) -> None:
    """`restricted` lets the other side see only what it names."""
    conn = peer.connect()

    class Secret:
        open_field = "visible"
        closed_field = "invisible"

    view = rpyc.restricted(Secret(), ["open_field"])
    root = conn.root
    assert root.apply(getattr, view, "open_field") == "visible"
    raises(AttributeError, root.apply, getattr, view, "closed_field")
    root.keep(view)
    assert root.kept() is view
