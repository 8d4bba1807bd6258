"""Proxies: their classes, which names are local and which remote, operators, isinstance, copies, chains."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import operator
import pickle
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from conftest import Rig

import rpyc
from rpyc.core import netref
from rpyc.core.netref import BaseNetref, NetrefMetaclass
from rpyc.lib import get_id_pack

ALL = {"allow_all_attrs": True, "allow_setattr": True, "allow_delattr": True, "allow_pickle": True}


class Meta(type):
    """A metaclass with a hash and a text of its own."""

    def __hash__(cls) -> int:
        return 777

    def __repr__(cls) -> str:
        return f"<Meta {cls.__name__}>"


class Plain:
    """Nothing special."""

    tag = "plain"


class Child(Plain):
    """A subclass."""


class Sibling:
    """Unrelated."""


class Hashing(metaclass=Meta):
    """Equal to anything of its class, hash 4242."""

    def __hash__(self) -> int:
        return 4242

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashing)


class Unhashable:
    """Defines equality only."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class Counting:
    """A property that counts how often it is read."""

    count = 0

    @property
    def counter(self) -> int:
        """One more each time."""
        self.count += 1
        return self.count


class Sequence:
    """Everything that has a special method of its own, apart from arithmetic."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        return ("item", index)

    def __reversed__(self) -> Iterator[str]:
        return iter("cba")

    def __bool__(self) -> bool:
        return False

    def __complex__(self) -> complex:
        return 2j

    def __round__(self, digits: int | None = None) -> Any:
        return ("round", digits)

    def __bytes__(self) -> bytes:
        return b"bytes"

    def __fspath__(self) -> str:
        return "/path"

    def __length_hint__(self) -> int:
        return 17

    def __matmul__(self, other: Any) -> Any:
        return ("matmul", other)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, tuple(kwargs.items())


@dataclasses.dataclass
class Record:
    """A dataclass with exposed fields."""

    exposed_number: int
    exposed_text: str
    exposed_real: float
    exposed_data: bytes


class Service(rpyc.Service):
    """Hands out instances of the classes above."""

    def exposed_make(self, name: str, *args: Any) -> Any:
        return globals()[name](*args)

    def exposed_cls(self, name: str) -> Any:
        return globals()[name]

    def exposed_builtin(self, name: str) -> Any:
        import builtins

        return getattr(builtins, name)

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_list(self, *items: Any) -> list[Any]:
        return list(items)

    def exposed_dict(self) -> dict[str, int]:
        return {"a": 1}

    def exposed_module(self, name: str) -> Any:
        return __import__(name)

    def exposed_isinstance(self, value: Any, kind: Any) -> bool:
        return isinstance(value, kind)

    def exposed_str(self, value: Any) -> str:
        return str(value)

    def exposed_error(self) -> Exception:
        return RuntimeError("as a value")

    def exposed_generator(self) -> Iterator[int]:
        yield from (1, 2)

    @contextlib.contextmanager
    def exposed_managed(self, log: Any) -> Iterator[str]:
        try:
            yield "entered"
        except BaseException as error:
            log.append(type(error).__name__ if isinstance(error, Exception) else "other")
            raise
        finally:
            log.append("left")


@pytest.fixture
def conn(rig: Rig) -> Any:
    """A connection under the default configuration."""
    return rig.pair(Service, client_config={"allow_public_attrs": True}).client


@pytest.fixture
def open_conn(rig: Rig) -> Any:
    """A connection where everything is allowed."""
    return rig.pair(Service, ALL).client


# Classes of proxies


def test_class_hierarchy() -> None:
    """The names and relations that programs test."""
    meta: type = NetrefMetaclass
    assert (meta.__bases__, meta.__name__) == ((type,), "NetrefMetaclass")
    assert BaseNetref.__mro__ == (BaseNetref, object)
    assert isinstance(BaseNetref, NetrefMetaclass)
    assert set(BaseNetref.__slots__) == {"____conn__", "____id_pack__", "____refcount__", "__weakref__"}
    assert repr(BaseNetref) == "<netref class 'rpyc.core.netref.BaseNetref'>"
    assert len(netref.LOCAL_ATTRS) == 35 and netref.DELETED_ATTRS == frozenset(["__array_struct__", "__array_interface__"])
    assert len(netref.builtin_classes_cache) == 34


def test_names_of_proxy_classes(conn: Any) -> None:
    """The whole remote name is the class's name."""
    remote = conn.root.list(1)
    assert str(type(remote)) == "<netref class 'rpyc.core.netref.builtins.list'>"
    assert (type(remote).__name__, type(remote).__qualname__, type(remote).__module__) == (
        "builtins.list", "builtins.list", "rpyc.core.netref",
    )
    assert type(remote).__class__ is NetrefMetaclass
    assert type(remote) is netref.builtin_classes_cache["builtins.list"]
    made = conn.root.make("Plain")
    assert type(made).__name__ == f"{__name__}.Plain"
    assert isinstance(made, BaseNetref) and issubclass(type(made), BaseNetref)


def test_a_replaced_class_of_methods_is_taken(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, though it is not looked up for each method."""
    root, usual = conn.root, netref.builtin_classes_cache["builtins.method"]
    replaced = netref.class_factory(("builtins.method", 1, 2), [("__call__", "")])
    assert type(root.make) is usual
    with monkeypatch.context() as patch:
        patch.setitem(netref.builtin_classes_cache, "builtins.method", replaced)
        assert type(root.make) is replaced
    assert type(root.make) is usual
    with monkeypatch.context() as patch:
        patch.setattr(netref, "builtin_classes_cache", {"builtins.method": replaced})
        assert type(root.make) is replaced
    assert type(root.make) is usual


def test_classes_are_kept_for_the_next_connection(rig: Rig) -> None:
    first, second = rig.pair(Service).client, rig.pair(Service).client
    cls: Any = type(first.root)
    assert type(second.root) is cls
    # Not once somebody has changed it.
    cls.added = 1
    third, fourth = rig.pair(Service).client, rig.pair(Service).client
    assert type(third.root) is not cls and not hasattr(type(third.root), "added")
    assert type(fourth.root) is type(third.root)


def test_classes_follow_what_they_are_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pack, methods = ("nowhere.Kind", 1, 2), (("__len__", None), ("other", "A text."))
    cls = netref.class_factory(pack, methods)
    assert netref.class_factory(pack, methods) is cls
    assert netref.class_factory(pack, methods[:1]) is not cls
    assert netref.class_factory(("nowhere.Sort", 1, 2), methods) is not cls
    assert netref.class_factory(pack, list(methods)) is not cls
    monkeypatch.setattr(netref, "LOCAL_ATTRS", netref.LOCAL_ATTRS | {"other"})
    assert not hasattr(netref.class_factory(pack, methods), "other")
    monkeypatch.undo()
    made: Any = netref.class_factory(pack, methods)
    assert made.other.__doc__ == "A text."
    monkeypatch.setattr(netref, "_make_method", lambda name, doc: lambda self: name)
    made = netref.class_factory(pack, methods)
    assert made.other(None) == "other"


def test_id_packs(conn: Any) -> None:
    """Name, id of the class, id of the instance; 0 for a class."""
    made, kind, module = conn.root.make("Plain"), conn.root.cls("Plain"), conn.root.module("contextlib")
    assert get_id_pack(made) == made.____id_pack__
    (name, class_id, instance), (class_name, own_id, zero) = made.____id_pack__, kind.____id_pack__
    assert name == class_name == f"{__name__}.Plain"
    assert class_id == own_id > 0 and instance > 0 and zero == 0
    assert conn.root.make("Plain").____id_pack__[1] == class_id
    assert module.____id_pack__[0] == "contextlib" and module.____id_pack__[2] > 0
    assert made.____conn__ is conn


def test_weak_references_to_proxies(conn: Any) -> None:
    """A proxy can be referred to weakly."""
    made = conn.root.make("Plain")
    assert weakref.ref(made)() is made


# Names


def test_local_and_remote_names(open_conn: Any) -> None:
    """The local names of a proxy are its own; everything else is the remote object's."""
    made = open_conn.root.make("Plain")
    assert made.__module__ == "rpyc.core.netref"
    assert made.tag == "plain"
    assert made.__doc__ == "Nothing special."
    for name in ("__array_struct__", "__array_interface__"):
        with pytest.raises(AttributeError):
            getattr(made, name)
    assert "fresh" not in dir(made)
    made.fresh = 1
    assert made.__dict__["fresh"] == 1 and "fresh" in dir(made)
    assert vars(made)["fresh"] == 1
    del made.fresh
    assert not hasattr(made, "fresh")


def test_writing_local_names_stays_here(open_conn: Any) -> None:
    """Setting or deleting a local name is no remote operation, even where everything is allowed."""
    made = open_conn.root.make("Plain")
    for name in ("__slots__", "__module__"):
        with pytest.raises(AttributeError):
            setattr(made, name, "x")
        with pytest.raises(AttributeError):
            delattr(made, name)
    assert "__slots__" not in made.__dict__ and "__module__" not in made.__dict__


def test_property_is_read_once_in_classic_mode(rig: Rig) -> None:
    """A counting property gives 1, 2, 3, 4; under the default procedure each read counts twice."""
    classic = rig.pair(rpyc.SlaveService, client_service=rpyc.core.service.MasterService).client
    made = classic.modules[__name__].Counting()
    assert [made.counter for _ in range(4)] == [1, 2, 3, 4]


def test_public_method_calls(open_conn: Any) -> None:
    """A method with arguments of both kinds."""
    remote = open_conn.root.list(3, 1, 2)
    remote.append(5)
    remote.sort(reverse=True)
    assert list(remote) == [5, 3, 2, 1] and remote.index(2) == 2


# Operators


def test_special_methods(conn: Any) -> None:
    """The syntax reaches the remote method."""
    made = conn.root.make("Sequence")
    assert len(made) == 3 and made[1] == ("item", 1) and made[1:2] == ("item", slice(1, 2))
    assert not made and operator.length_hint(made) == 3
    assert made(1, k=2) == ((1,), (("k", 2),))
    assert type(made).__getitem__(made, 5) == made.__getitem__(5) == ("item", 5)


def test_special_methods_outside_the_safe_names(conn: Any, open_conn: Any) -> None:
    """Those that are not safe attributes need permission."""
    import os

    made, closed = open_conn.root.make("Sequence"), conn.root.make("Sequence")
    operations: list[tuple[Any, Any]] = [
        (lambda x: list(reversed(x)), ["c", "b", "a"]), (complex, 2j), (round, ("round", None)),
        (lambda x: round(x, 2), ("round", 2)), (bytes, b"bytes"), (os.fspath, "/path"), (lambda x: x @ 5, ("matmul", 5)),
    ]
    for operation, wanted in operations:
        assert operation(made) == wanted
        with pytest.raises(AttributeError):
            operation(closed)


def test_operators_without_a_remote_method(conn: Any) -> None:
    """Python's ordinary answer, without asking the peer."""
    made = conn.root.make("Plain")
    for operation in (len, iter, int, lambda x: x[0], lambda x: x + 1, lambda x: -x, operator.index):
        with pytest.raises(TypeError):
            operation(made)
    assert bool(made) is True
    with pytest.raises(TypeError):
        made < 1  # noqa: B015
    assert (made == 1) is False and made != 1


def test_comparison_falls_back_to_identity(conn: Any) -> None:
    """NotImplemented comes back by value and Python goes on from there."""
    first, second = conn.root.make("Plain"), conn.root.make("Plain")
    assert first == first and first != second  # noqa: PLR0124


def test_lists_are_not_equal_to_proxies_of_lists(conn: Any) -> None:
    """The local list travels by reference, and a list refuses to compare with a proxy."""
    assert (conn.root.list(1, 2) == [1, 2]) is False
    assert list(conn.root.list(1, 2)) == [1, 2]


def test_hash(conn: Any) -> None:
    """The remote object's hash, for instances and classes."""
    assert hash(conn.root.make("Hashing")) == 4242
    assert hash(conn.root.cls("Hashing")) == 777
    assert hash(conn.root.cls("Plain")) == hash(Plain)
    with pytest.raises(TypeError):
        hash(conn.root.make("Unhashable"))
    with pytest.raises(TypeError):
        hash(conn.root.list())
    keys = {conn.root.make("Hashing"): "found"}
    assert keys[conn.root.make("Hashing")] == "found"


def test_texts(conn: Any) -> None:
    """repr and str are the remote ones, metaclasses included."""
    assert repr(conn.root.list(1, "a")) == str(conn.root.list(1, "a")) == "[1, 'a']"
    assert repr(conn.root.cls("Hashing")) == "<Meta Hashing>"
    assert repr(conn.root.module("contextlib")) == repr(contextlib)
    assert repr(conn.root.builtin("list")) == repr(list)
    assert f"{conn.root.list()!s:>4}" == "  []"


# Classes of remote objects


def test_class_of_a_builtin(conn: Any) -> None:
    """Well-known types are answered here."""
    remote = conn.root.list(1)
    assert remote.__class__ is list and isinstance(remote, list) and isinstance(remote, Iterable)
    table = conn.root.dict()
    assert isinstance(table, Mapping) and isinstance(table, dict) and not isinstance(table, list)
    description = type(table).__dict__["__class__"]
    assert description.instance is dict and description.owner is type


def test_class_of_a_class(conn: Any) -> None:
    """The proxy of a class says that it is a type."""
    assert conn.root.builtin("list").__class__ is type
    kind = conn.root.cls("Plain")
    assert kind.__class__ is type and isinstance(kind, type)
    assert repr(kind()) != repr(kind)


def test_class_found_locally(conn: Any) -> None:
    """A class importable by the same name here is what `__class__` says."""
    made = conn.root.make("Plain")
    assert made.__class__ is Plain and isinstance(made, Plain)


def test_class_of_a_module(conn: Any) -> None:
    """A module imported here as well has the module type; its proxy class is named after it."""
    module = conn.root.module("contextlib")
    assert module.__class__ is type(contextlib)
    assert repr(type(module)) == "<netref class 'rpyc.core.netref.contextlib'>"


def test_isinstance_with_a_proxy_of_a_class(conn: Any) -> None:
    """True for the very class; instance proxies are no classes."""
    plain, child = conn.root.cls("Plain"), conn.root.cls("Child")
    made = conn.root.make("Plain")
    assert isinstance(made, plain)
    assert not isinstance(made, child) and not isinstance(made, conn.root.cls("Sibling"))
    assert not isinstance(plain, plain)
    assert isinstance([], conn.root.builtin("list")) and not isinstance((), conn.root.builtin("list"))
    assert isinstance(None, conn.root.builtin("type")) is False
    with pytest.raises(TypeError):
        isinstance(made, made)
    with pytest.raises(TypeError):
        isinstance([], conn.root.list())


def test_isinstance_across_connections(rig: Rig) -> None:
    """Two connections to one process agree on classes."""
    server = rig.serve(Service)
    first, second = rig.connect(server), rig.connect(server)
    assert isinstance(first.root.make("Plain"), second.root.cls("Plain"))


def test_isinstance_on_the_other_side(conn: Any) -> None:
    """A proxy that goes home is the object itself; the local class of a client's object is asked there."""
    assert conn.root.isinstance(conn.root.list(), list)
    assert conn.root.isinstance([], list)
    assert conn.root.isinstance(conn.root.make("Child"), conn.root.cls("Plain"))


def test_exceptions_as_values(conn: Any) -> None:
    """An exception object is a proxy, and an instance of the local classes."""
    error = conn.root.error()
    assert isinstance(error, BaseNetref) and isinstance(error, RuntimeError) and isinstance(error, Exception)


# Identity, copies, other kinds of object


def test_identity(conn: Any) -> None:
    """One proxy for one object, and one's own objects unwrapped."""
    made, own = conn.root.make("Plain"), Plain()
    assert conn.root.same(made) is made
    assert conn.root.same(own) is own
    assert conn.root.same((own, [made], made))[2] is made
    inner = conn.root.list(own, made)
    assert inner[0] is own and inner[1] is made


def test_copies(open_conn: Any, conn: Any) -> None:
    """Pickle, copy and deepcopy make real objects, with permission of both ends.

    6.0.2 asks the owner only, and so loads pickles that a peer chose without this side's consent.
    """
    remote = open_conn.root.list(1, "two", (3,))
    for make in (pickle.dumps, copy.copy, copy.deepcopy, rpyc.classic.obtain):
        with pytest.raises(ValueError, match="this end of the connection must have allow_pickle"):
            make(remote)
    open_conn._config["allow_pickle"] = True
    for made in (pickle.loads(pickle.dumps(remote)), copy.copy(remote), copy.deepcopy(remote), rpyc.classic.obtain(remote)):
        assert type(made) is list and made == [1, "two", (3,)]
    conn._config["allow_pickle"] = True
    with pytest.raises(ValueError, match="pickling is disabled"):
        pickle.dumps(conn.root.list())


def test_dataclass_fields(conn: Any) -> None:
    """Fields named with the prefix are readable without it."""
    record = conn.root.make("Record", 1, "t", 0.5, b"b")
    assert (record.number, record.text, record.real, record.data) == (1, "t", 0.5, b"b")


def test_objects_that_are_nearly_plain(conn: Any) -> None:
    """Dates, named tuples and subclasses of plain types go by reference and work."""
    day = datetime.date(2020, 2, 3)
    assert conn.root.same(day) is day
    assert conn.root.str(day) == "2020-02-03"
    assert conn.root.str(True) == "True"


def test_dict_proxies(conn: Any, open_conn: Any) -> None:
    """Item access under the default configuration; a real dict when `keys` may be read."""
    assert conn.root.dict()["a"] == 1 and list(conn.root.dict()) == ["a"]
    with pytest.raises((ValueError, TypeError)):
        dict(conn.root.dict())
    assert dict(open_conn.root.dict()) == {"a": 1}


# Iteration and context managers


def test_iteration(conn: Any) -> None:
    """Generators end as local ones do."""
    generator = conn.root.generator()
    assert iter(generator) is generator
    assert [next(generator), next(generator), next(generator, "over")] == [1, 2, "over"]
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(AttributeError):
        generator.send(None)


def test_generator_based_context_manager(conn: Any) -> None:
    """Entered value, clean exit, and an exit by a local exception, which goes on here."""
    log: list[str] = []
    with conn.root.managed(log) as entered:
        assert (entered, log) == ("entered", [])
    assert log == ["left"]

    class Own(Exception):
        pass

    with pytest.raises(Own), conn.root.managed(log):
        raise Own
    # Which exception the other side sees depends on the packages; that it sees one does not.
    assert len(log) == 3 and log[-1] == "left"


# Chains


def test_chained_connections(rig: Rig) -> None:
    """Client, intermediate, server: every operation goes hop by hop, and identity survives the round trip."""
    server = rig.serve(Service, dict(ALL))
    upstream = rig.connect(server, **ALL)

    class Middle(rpyc.Service):
        def exposed_pass_on(self, value: Any) -> Any:
            return upstream.root.same(value)

        def exposed_text(self, value: Any) -> str:
            return str(upstream.root.str(value))

        def exposed_make(self, name: str) -> Any:
            return upstream.root.make(name)

    client = rig.pair(Middle, ALL, client_config=ALL).client
    own = Plain()
    assert client.root.pass_on(own) is own
    assert client.root.text([1, 2]) == "[1, 2]"
    far = client.root.make("Sequence")
    assert len(far) == 3 and far[4] == ("item", 4) and far(1) == ((1,), ())
    plain = client.root.make("Plain")
    plain.tag = "changed"
    assert plain.tag == "changed"
    assert client.root.pass_on(plain) is plain


def test_low_level_calls(conn: Any) -> None:
    """`syncreq` and `asyncreq` send a handler with the proxy as first argument."""
    from rpyc.core import consts

    remote = conn.root.list(1, 2)
    assert netref.syncreq(remote, consts.HANDLE_REPR) == "[1, 2]"
    assert netref.asyncreq(remote, consts.HANDLE_CALLATTR, "__len__", ()).value == 2
