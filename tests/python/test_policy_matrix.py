"""Every handler, on every kind of object, under every policy.

What is expected is not what the code does: `Rules` says it, a second reading of docs/access.md (sections 2, 4, 7 and 8)
and of the table of handlers in docs/protocol.md (section 14), in plain Python. It is applied to an object of its own,
made in the same way as the one that the peer asks about.
"""

from __future__ import annotations

import collections
import enum
import functools
import inspect
import itertools
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Rig
from hostile import LOCAL, TUPLE, VALUE, Victim, victim

import rpyc
from rpyc.core import brine, consts, netref
from rpyc.lib import get_id_pack
from rpyc.utils.helpers import restricted

# ------------------------------------------------------------------------------------------------------ kinds of object


class Plain:
    """Attributes of every sort that the rules tell apart."""

    foo = 1
    exposed_bar = 2
    both = 3
    exposed_both = 4
    _private = 5
    exposed__hidden = 6
    next = 7

    def __init__(self) -> None:
        self.own = 8
        self.exposed_own = 9

    def method(self) -> str:
        return "method"

    def exposed_method(self) -> str:
        return "exposed method"

    @property
    def failing(self) -> Any:
        raise LookupError("no value")

    @property
    def exposed_prop(self) -> int:
        return 10

    @property
    def exposed_broken(self) -> Any:
        raise AttributeError("its own message")

    def __eq__(self, other: object) -> bool:
        return other == "equal"

    def __lt__(self, other: object) -> Any:
        return NotImplemented

    def __hash__(self) -> int:
        return 11

    def __repr__(self) -> str:
        return "a plain one"

    def __len__(self) -> int:
        return 12


class Exposing(Plain):
    """Tells of itself what it wants to be told."""

    def exposed___repr__(self) -> str:
        return "told repr"

    def exposed___str__(self) -> str:
        return "told str"

    def exposed___hash__(self) -> int:
        return 13

    def exposed___dir__(self) -> list[str]:
        return ["exposed_bar", "foo", "_private"]

    def exposed___iter__(self) -> Iterator[int]:
        return iter([1])

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2, 3, 4])


class Ruling(Plain):
    """Has rules of its own for everything."""

    def _rpyc_getattr(self, name: str) -> Any:
        if name in ("foo", "__repr__", "__iter__"):
            return getattr(self, name)
        raise LookupError(f"my rule: {name}")

    def _rpyc_setattr(self, name: str, value: Any) -> None:
        if name != "foo":
            raise LookupError(f"my rule: {name}")

    def _rpyc_delattr(self, name: str) -> None:
        raise AttributeError(f"my rule: {name}")


class Unruling(Plain):
    _rpyc_getattr = None


class Meta(type):
    def _rpyc_getattr(cls, name: str) -> Any:
        if name == "foo":
            return "ruled by the metaclass"
        raise AttributeError(name)


class Ruled(metaclass=Meta):
    foo = 1


class Anything:
    """Has every attribute."""

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"dynamic {name}"


class Slotted:
    __slots__ = ("exposed_slot", "slot")

    def __init__(self) -> None:
        self.slot = 1


class Context:
    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: Any) -> str:
        return f"left with {exc[0]}"


class Text(str):
    """A text that travels by reference; and its attribute has the name of a frame's."""

    f_back = 1


class Root(rpyc.Service):
    """A service; its reading follows the rules, and it can't be written."""

    public = 1

    def exposed_greet(self) -> str:
        return "hello"


def function(arg: int = 0) -> int:
    """A function with an attribute."""
    return arg + 1


def marked_function() -> Any:
    made = types.FunctionType(function.__code__, globals(), "function", (0,))
    made.exposed_mark = "mark"  # type: ignore[attr-defined]
    return made


def fresh(cls: type) -> type:
    """A class of its own, which may be changed."""
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return type(cls)(cls.__name__, cls.__bases__, namespace)


def colours() -> Any:
    return enum.Enum("Colour", {"RED": 1}, module=__name__)


def generator() -> Iterator[int]:
    yield from range(5)


def with_rule_in_the_instance() -> Plain:
    plain = Plain()
    plain._rpyc_getattr = lambda name: "never asked"  # type: ignore[attr-defined]
    return plain


def module() -> types.ModuleType:
    made = types.ModuleType("made")
    made.foo, made.exposed_bar, made._private = 1, 2, 3  # type: ignore[attr-defined]
    return made


KINDS: dict[str, Callable[[], Any]] = {
    "instance": Plain, "exposing": Exposing, "ruling": Ruling, "ruling-not": Unruling, "ruled-by-metaclass": lambda: fresh(Ruled),
    "rule-in-instance": with_rule_in_the_instance, "any-attribute": Anything, "slots": Slotted, "class": lambda: fresh(Plain),
    "exposing-class": lambda: fresh(Exposing), "builtin-class": lambda: dict, "enum": colours, "enum-member": lambda: colours().RED,
    "function": marked_function, "builtin-function": lambda: len, "lambda": lambda: lambda: 1, "method": lambda: Plain().method,
    "partial": lambda: functools.partial(function, 1), "module": module, "generator": generator, "context": Context,
    "service": Root, "restricted": lambda: restricted(Plain(), ["foo"], ["own"]),
    "list": lambda: [3, 1, 2], "dict": lambda: {"a": 1}, "set": lambda: {1}, "bytearray": lambda: bytearray(b"ab"),
    "frozenset-of-objects": lambda: frozenset([Plain]), "deque": lambda: collections.deque([1, 2]),
    "iterator": lambda: iter([1, 2, 3]), "endless": itertools.count, "range": lambda: range(3), "view": lambda: {"a": 1}.keys(),
    "memoryview": lambda: memoryview(b"abc"), "exception": lambda: KeyError("k"), "property": lambda: Plain.__dict__["failing"],
    "lock": threading.Lock, "code": lambda: function.__code__, "frame": lambda: sys._getframe(),
    "text": lambda: "text", "text-of-its-own": lambda: Text("text"), "text-class": lambda: str, "number": lambda: 7, "nothing": lambda: None,
}  # fmt: skip

NAMES = (
    "foo", "exposed_foo", "bar", "exposed_bar", "both", "own", "_private", "_hidden", "exposed__hidden", "method", "failing", "prop",
    "broken", "slot", "greet", "public", "mark", "missing", "_missing", "exposed_missing", "next", "append", "keys", "send", "get_service_name",
    "__class__", "__dict__", "__init__", "__globals__", "__reduce_ex__", "__getattribute__", "__subclasses__", "__doc__", "__call__",
    "__len__", "__iter__", "__next__", "__getitem__", "__contains__", "__eq__", "__lt__", "__hash__", "__repr__", "__str__", "__dir__",
    "__enter__", "__exit__", "__add__", "format", "format_map", "gi_frame", "f_globals", "f_back",
)  # fmt: skip
FRAMES = ("gi_frame", "cr_frame", "ag_frame", "tb_frame", "f_back", "f_builtins", "f_globals", "f_locals")
CALLABLE = ("method", "greet", "missing", "_private", "__len__", "__next__", "__repr__", "__class__", "__enter__", "foo")
SETTABLE = ("foo", "bar", "exposed_bar", "own", "_private", "new", "exposed_new", "__class__", "__dict__", "slot", "public")
OPERATIONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__cmp__", "__getattribute__", "__contains__", "foo", "")

OFF = dict.fromkeys(["allow_safe_attrs", "allow_exposed_attrs", "allow_public_attrs", "allow_all_attrs"], False)
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "nothing": OFF,
    "no-safe": {"allow_safe_attrs": False},
    "no-exposed": {"allow_exposed_attrs": False},
    "public": {"allow_public_attrs": True},
    "all": {"allow_all_attrs": True},
    "classic": {"allow_all_attrs": True, "allow_exposed_attrs": False, "allow_setattr": True, "allow_delattr": True, "allow_pickle": True},
    "writable": {"allow_setattr": True, "allow_delattr": True},
    "writable-public": {**OFF, "allow_public_attrs": True, "allow_setattr": True, "allow_delattr": True},
    "unreadable": {"allow_getattr": False, "allow_all_attrs": True, "allow_setattr": True},
    "no-prefix": {"exposed_prefix": ""},
    "other-prefix": {"exposed_prefix": "fo", "allow_setattr": True},
    "few-safe": {"safe_attrs": ["__len__", "foo"]},
    "gated": {"gate_introspection": True},
    "gated-nothing": {**OFF, "gate_introspection": True},
    "gated-all": {"allow_all_attrs": True, "gate_introspection": True},
    "strict": rpyc.STRICT,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- the rules


class Denied(AttributeError):
    """The policy refuses."""


class Rules:
    """docs/access.md as a program. `config` is what the connection has been given, over the defaults."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = {**rpyc.DEFAULT_CONFIG, **config}
        self.gated = self.config["gate_introspection"]

    def resolve(self, obj: Any, name: str, permission: str) -> str:
        """Section 2, steps 2 to 9: the name under which the attribute is used."""
        config = self.config
        if not config[permission]:
            raise Denied
        prefix = config["exposed_prefix"] if config["allow_exposed_attrs"] else None
        plain = (
            config["allow_all_attrs"]
            or (prefix is not None and name.startswith(prefix))
            or (config["allow_safe_attrs"] and name in config["safe_attrs"])
            or (config["allow_public_attrs"] and not name.startswith("_") and not self.leads_past(obj, name))
        )
        twin = bool(prefix) and (hasattr(obj, prefix + name) or has_static(obj, prefix + name))
        if plain and (not twin or hasattr(obj, name)):
            return name
        if twin:
            return prefix + name
        if plain:
            return name
        raise Denied

    def leads_past(self, obj: Any, name: str) -> bool:
        """Section 2, the names that are not public although they look it."""
        if name in ("format", "format_map"):
            return issubclass(obj if isinstance(obj, type) else type(obj), str)
        return name in FRAMES and isinstance(obj, (types.GeneratorType, types.FrameType)) and has_static(obj, name)

    def get(self, obj: Any, name: str) -> Any:
        rule = getattr(type(obj), "_rpyc_getattr", None)
        return getattr(obj, self.resolve(obj, name, "allow_getattr")) if rule is None else rule(obj, name)

    def set(self, obj: Any, name: str, value: Any) -> None:
        rule = getattr(type(obj), "_rpyc_setattr", None)
        return setattr(obj, self.resolve(obj, name, "allow_setattr"), value) if rule is None else rule(obj, name, value)

    def delete(self, obj: Any, name: str) -> None:
        rule = getattr(type(obj), "_rpyc_delattr", None)
        return delattr(obj, self.resolve(obj, name, "allow_delattr")) if rule is None else rule(obj, name)

    def reaches(self, obj: Any, name: str) -> bool:
        """Whether a peer may read it. (Reading may fail for reasons of the attribute's own.)"""
        try:
            rule = getattr(type(obj), "_rpyc_getattr", None)
            self.resolve(obj, name, "allow_getattr") if rule is None else rule(obj, name)
        except Exception:
            return False
        return True

    def told(self, obj: Any, name: str, ask: Callable[[Any], Any]) -> Any:
        """Section 8, the first rule."""
        if not self.gated:
            return ask(obj)
        method = self.get(obj, name)
        return ask(obj) if isinstance(obj, type) else method()

    def names(self, obj: Any) -> tuple[str, ...]:
        names = self.told(obj, "__dir__", dir)
        return tuple(sorted(name for name in names if self.reaches(obj, name)) if self.gated else names)

    def methods(self, obj: Any) -> frozenset[str]:
        """Section 15 of docs/protocol.md, and section 8: the names only."""
        found: dict[str, Any] = {}
        for cls in reversed(type(obj).__mro__):
            found.update(vars(cls))
        if isinstance(obj, type):
            for cls in reversed(obj.__mro__):
                found.update(vars(cls))
        listed = {name for name, value in found.items() if inspect.isroutine(value) and name not in netref.LOCAL_ATTRS}
        return frozenset(name for name in listed if not self.gated or self.reaches(obj, name))

    def compare(self, obj: Any, other: Any, op: str) -> Any:
        if op not in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__", "__cmp__"):
            raise Denied
        return self.get(type(obj), op)(obj, other)

    def take(self, obj: Any, count: int) -> tuple[Any, ...]:
        if self.gated and not self.reaches(obj, "__iter__"):
            raise Denied
        return tuple(itertools.islice(obj, count))

    def slice(self, obj: Any) -> Any:
        try:
            return self.get(obj, "__getitem__")(slice(0, 1))
        except Exception:
            return self.get(obj, "__getslice__")(0, 1)

    def pickle(self, obj: Any) -> bytes:
        if not self.config["allow_pickle"]:
            raise ValueError("pickling is disabled")
        import pickle

        return pickle.dumps(obj, 2)


def has_static(obj: Any, name: str) -> bool:
    """Whether the attribute is there without any code being run."""
    try:
        inspect.getattr_static(obj, name)
    except AttributeError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------- asking

Case = tuple[str, int, tuple[Any, ...], Callable[[Rules, Any], Any]]


def cases() -> Iterator[Case]:
    """What is asked of each object: a description, the handler, its plain arguments after the object, the expectation."""
    for name in NAMES:
        yield f"getattr {name}", consts.HANDLE_GETATTR, (name,), lambda rules, obj, name=name: rules.get(obj, name)
    yield "getattr bytes", consts.HANDLE_GETATTR, (b"foo",), lambda rules, obj: rules.get(obj, "foo")
    yield "getattr 5", consts.HANDLE_GETATTR, (5,), lambda rules, obj: fail(TypeError())
    for name in CALLABLE:
        yield f"callattr {name}", consts.HANDLE_CALLATTR, (name, (), ()), lambda rules, obj, name=name: rules.get(obj, name)()
    for name in SETTABLE:
        yield f"setattr {name}", consts.HANDLE_SETATTR, (name, 1), lambda rules, obj, name=name: rules.set(obj, name, 1)
        yield f"delattr {name}", consts.HANDLE_DELATTR, (name,), lambda rules, obj, name=name: rules.delete(obj, name)
    for op in OPERATIONS:
        yield f"cmp {op}", consts.HANDLE_CMP, ("equal", op), lambda rules, obj, op=op: rules.compare(obj, "equal", op)
    yield "call", consts.HANDLE_CALL, ((), ()), lambda rules, obj: obj()
    yield "repr", consts.HANDLE_REPR, (), lambda rules, obj: rules.told(obj, "__repr__", repr)
    yield "str", consts.HANDLE_STR, (), lambda rules, obj: rules.told(obj, "__str__", str)
    yield "hash", consts.HANDLE_HASH, (), lambda rules, obj: rules.told(obj, "__hash__", hash)
    yield "dir", consts.HANDLE_DIR, (), lambda rules, obj: rules.names(obj)
    yield "buffiter", consts.HANDLE_BUFFITER, (2,), lambda rules, obj: rules.take(obj, 2)
    yield "oldslicing", consts.HANDLE_OLDSLICING, ("__getitem__", "__getslice__", 0, 1, ()), lambda rules, obj: rules.slice(obj)
    yield "ctxexit", consts.HANDLE_CTXEXIT, (None,), lambda rules, obj: rules.get(obj, "__exit__")(None, None, None)
    yield "pickle", consts.HANDLE_PICKLE, (2,), lambda rules, obj: rules.pickle(obj)
    yield "pickle-buffers", consts.HANDLE_PICKLE_BUFFERS, (), lambda rules, obj: (rules.pickle(obj), ())
    yield "instancecheck", consts.HANDLE_INSTANCECHECK, (("builtins.dict", 1, 2),), lambda rules, obj: issubclass(dict, obj)
    yield "read-ahead", consts.HANDLE_READ_AHEAD, (0, 1), lambda rules, obj: (False, (rules.get(obj, "__next__")(),))


CASES = list(cases())
# These give other answers each time, or an answer that is only true of one object; that there is one is enough.
ONLY_THE_KIND = {"hash", "pickle", "pickle-buffers", "read-ahead"}


def fail(error: Exception) -> Any:
    raise error


class Source(rpyc.Service):
    """Gives out the objects, whatever the policy."""

    current: Any = None

    def _rpyc_getattr(self, name: str) -> Any:
        return lambda: Source.current


def expected(rules: Rules, obj: Any, what: str, work: Callable[[Rules, Any], Any]) -> Any:
    try:
        return seen(work(rules, obj), what)
    except BaseException as error:
        return ("denied",) if isinstance(error, Denied) else ("raised", type(error).__name__)


def seen(value: Any, what: str) -> Any:
    """What a peer gets to see of a result, as far as two objects of one kind agree in it."""
    if what in ONLY_THE_KIND:
        return ("value", what)
    if brine.dumpable(value):
        return ("value", without_addresses(value))
    if type(value) is tuple:
        return ("tuple", tuple(seen(item, what) for item in value))
    return ("object", get_id_pack(value)[0])


def answered(kind: int, body: Any, what: str) -> Any:
    """The same, for an answer as it was received."""
    if kind == consts.MSG_EXCEPTION:
        if body == consts.EXC_STOP_ITERATION:
            return ("raised", "StopIteration")
        (_, name), args, _, _ = body
        text = str(args[0]) if args else ""
        is_denial = name == "AttributeError" and re.match(r"cannot (access '|iterate over)", text)
        return ("denied",) if is_denial else ("raised", name)
    if what in ONLY_THE_KIND:
        return ("value", what)
    return unboxed(*body)


def unboxed(label: int, content: Any) -> Any:
    if label == VALUE:
        return ("value", without_addresses(content))
    if label == TUPLE:
        return ("tuple", tuple(unboxed(*item) for item in content))
    return ("object", content[0])


def without_addresses(value: Any) -> Any:
    return re.sub(r"0x[0-9a-f]+", "0x", value) if isinstance(value, str) else value


def reference(target: Victim, root: Any, obj: Any) -> Any:
    """The object as the peer refers to it: by value if it has one."""
    if brine.dumpable(obj):
        return (VALUE, obj)
    Source.current = obj
    kind, (_, id_pack) = target.ask(consts.HANDLE_CALLATTR, root, (VALUE, "give"), (VALUE, ()), (VALUE, ()))
    assert kind == consts.MSG_REPLY
    return (LOCAL, id_pack)


# The Python path shares the rarer handlers and the decision; it gets a part of the policies.
ASKED = ("default", "nothing", "classic", "strict") if os.environ.get("RPYC_TEST_PYTHON_PATH") else tuple(POLICIES)


@pytest.mark.parametrize("policy", ASKED)
def test_every_handler_on_every_object(rig: Rig, policy: str) -> None:
    """What the peer gets is what the rules say, for each handler, name and kind of object."""
    config = POLICIES[policy]
    target = victim(rig, "server", Source, **config)
    root, rules = target.root(), Rules(config)
    wrong = []
    for kind, make in KINDS.items():
        for what, handler, arguments, work in CASES:
            twin, subject = make(), make()
            want = expected(rules, twin, what, work)
            got = answered(*target.ask(handler, reference(target, root, subject), *((VALUE, item) for item in arguments)), what)
            if got != want:
                wrong.append(f"{what} on {kind}: expected {want}, got {got}")
        ref = reference(target, root, subject)
        if ref[0] == LOCAL:
            answer = target.ask(consts.HANDLE_INSPECT, (VALUE, ref[1]))
            names = frozenset(name for name, _ in answer[1][1])
            if names != rules.methods(subject):
                wrong.append(f"inspect on {kind}: differs in {sorted(names ^ rules.methods(subject))}")
    assert not wrong, f"{len(wrong)} of {len(KINDS) * (len(CASES) + 1)}:\n" + "\n".join(wrong[:40])


def test_the_kinds_and_policies_are_told_apart() -> None:
    """The rules say something: each policy differs from the default somewhere, and each outcome occurs."""
    outcomes = {}
    for policy, config in POLICIES.items():
        rules = Rules(config)
        outcomes[policy] = {
            (kind, what): expected(rules, make(), what, work)
            for kind, make in KINDS.items()
            if kind in ("instance", "exposing", "ruling", "service", "list", "context")
            for what, _, _, work in CASES
        }
    for policy, found in outcomes.items():
        assert policy == "default" or found != outcomes["default"], policy
    assert {outcome[0] for found in outcomes.values() for outcome in found.values()} == {"value", "object", "raised", "denied"}
