"""Netrefs: proxies of objects that live at the other end of a connection.

:class:`BaseNetref` is native. This module has what CPython's type machinery does for it: its
metaclass, and a class of proxies for each remote class, whose special methods make operators work.

Methods of such classes go through :func:`syncreq` as this module names it at the time of the call,
so a program that replaces it is obeyed.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from rpyc import _rpyc
from rpyc._rpyc import BaseNetref, syncreq
from rpyc.core import consts
from rpyc.core._connection import buffers
from rpyc.lib import get_id_pack, get_methods, maxint
from rpyc.lib.identity import printable
from rpyc.lib.watching import WatchedDict, watched_module

__all__ = [
    "DELETED_ATTRS",
    "LOCAL_ATTRS",
    "BaseNetref",
    "IdPack",
    "NetrefClass",
    "NetrefMetaclass",
    "asyncreq",
    "builtin_classes_cache",
    "builtin_id_pack_cache",
    "class_factory",
    "get_id_pack",
    "syncreq",
]

IdPack = tuple[str, int, int]

DELETED_ATTRS = frozenset({"__array_struct__", "__array_interface__"})
"""Names that no proxy has: NumPy would take memory addresses of the peer for its own."""

LOCAL_ATTRS = (
    frozenset(
        ["____conn__", "____id_pack__", "____refcount__", "__class__", "__cmp__", "__del__", "__delattr__", "__dict__", "__dir__", "__doc__", "__eq__", "__exit__", "__ge__", "__getattr__", "__getattribute__", "__gt__", "__hash__", "__init__", "__instancecheck__", "__le__", "__lt__", "__metaclass__", "__methods__", "__module__", "__ne__", "__new__", "__reduce__", "__reduce_ex__", "__repr__", "__setattr__", "__slots__", "__str__", "__weakref__"]
    )
    | DELETED_ATTRS
)
"""Names that belong to the proxy itself, not to what it stands for."""

_builtin_types: list[type] = [
    BaseException,
    Exception,
    bool,
    bytearray,
    bytes,
    complex,
    dict,
    float,
    frozenset,
    int,
    list,
    memoryview,
    object,
    set,
    slice,
    str,
    tuple,
    type,
    type(None),
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    types.FunctionType,
    types.GeneratorType,
    types.MappingProxyType,
    types.MethodType,
    types.MethodWrapperType,
    types.ModuleType,
    types.TracebackType,
    types.WrapperDescriptorType,
    type(iter([])),
    type(iter(range(0))),
    type(iter(set())),
    type(iter(())),
]

_containers: list[Any] = [[], (), range(0), range(1 << 99), "", "\u20ac", b"", bytearray(), set()]
_reversible: list[Any] = [[], {}, {}.values(), {}.items()]
_plain_iterators: frozenset[type] = frozenset(
    type(iterator)
    for iterator in (*map(iter, _containers), *map(iter, _reversible), *map(reversed, _reversible))
)
"""The iterators of builtin containers: they run no code of the user, and can be copied."""

_plain_iterator_names = frozenset(f"builtins.{cls.__name__}" for cls in _plain_iterators)

_normalized_builtin_types: dict[str, type] = {
    f"{cls.__module__}.{cls.__name__}": cls for cls in _builtin_types
}
"""Names on the wire -> the builtin type."""

builtin_id_pack_cache: dict[IdPack, type[BaseNetref]] = {}
"""Always empty; programs expect the name."""

builtin_classes_cache: dict[str, type[BaseNetref]] = WatchedDict({}, _rpyc.extension_changed)
"""Names on the wire -> the class of proxies, shared by all connections."""


class NetrefMetaclass(type):
    """The class of all classes of proxies."""

    __slots__ = ()

    def __repr__(cls) -> str:
        if cls.__module__:
            return f"<netref class '{cls.__module__}.{cls.__name__}'>"
        return f"<netref class '{cls.__name__}'>"

    def __getattr__(cls, *args: Any) -> Any:
        # Python asks here for missing attributes of a class. The native class needs no __getattr__
        # of its own, but programs call it: type(proxy).__getattr__(proxy, name) arrives here, too.
        if len(args) == 2:  # noqa: PLR2004 - proxy and name
            return _getattr(*args)
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {args[0]!r}")


_rpyc.set_metaclass(NetrefMetaclass)
# As a class of Python would show them; the native class keeps them in its own way.
BaseNetref.__slots__ = (  # type: ignore[attr-defined]
    "____conn__",
    "____id_pack__",
    "____refcount__",
    "__weakref__",
)


class NetrefClass:
    """The descriptor behind ``proxy.__class__``: a local class that the proxy claims to be of."""

    __slots__ = ("_instance",)

    def __init__(self, class_obj: type | None) -> None:
        self._instance = class_obj

    @property
    def instance(self) -> type | None:
        """The local class of what the proxy stands for; None if there is none."""
        return self._instance

    @property
    def owner(self) -> type | None:
        """The class of that class: what proxies of the class itself claim to be of."""
        return None if self._instance is None else self._instance.__class__

    def __get__(self, netref: BaseNetref | None, netref_class: type | None = None) -> Any:
        if netref is None:
            return netref_class
        if self._instance is None:
            # Then the peer is asked.
            raise AttributeError("__class__")
        return self.owner if netref.____id_pack__[2] == 0 else self._instance


def asyncreq(proxy: BaseNetref, handler: int, *args: Any) -> Any:
    """Send an asynchronous request: ``handler`` with the proxy and ``args``.

    Returns an ``AsyncResult`` without expiry.
    """
    return proxy.____conn__.async_request(handler, proxy, *args)


def _methods_told(answer: Any) -> Any:
    """The methods of a remote class, as its owner told them; TypeError if it told anything else.

    They are pairs of texts, by value: what is no such thing could be anything, and have no end.
    """
    if type(answer) is not tuple or not _rpyc.brine_dumpable(answer):
        raise TypeError("the peer does not say what methods a class has: its answer to INSPECT is no tuple of pairs")
    return answer


def class_factory(
    id_pack: IdPack, methods: Iterable[tuple[str, str | None]]
) -> type[BaseNetref]:
    """Make a class of proxies for a remote class.

    ``id_pack`` is that of an instance or of the class itself; ``methods`` are pairs of name and doc
    text, as the peer's inspection gave them.
    """
    name = str(id_pack[0])
    local = _local_class(name)
    # Plain values only: no code of a peer or of the program runs when they are compared.
    plain = type(methods) is tuple and _rpyc.brine_dumpable(methods)
    # All that a class is made from, apart from what its methods look up when they are called.
    key, made_from = (name, methods), (local, LOCAL_ATTRS, _make_method)
    known = _known_classes.get(key) if plain else None
    if known is not None and known.is_made_from(made_from):
        return known.cls
    cls = _make_class(name, local, methods)
    if plain and len(name) + _length_of(methods) <= _MOST_TEXT:
        if len(_known_classes) >= _MOST_CLASSES:
            _known_classes.clear()
        _known_classes[key] = _KnownClass(cls, made_from)
    return cls


_MOST_CLASSES = 128
"""Classes that are kept."""

_MOST_TEXT = 1 << 16
"""Characters of names and doc texts in a class that is kept: they are the peer's."""

_LONGEST_NAME = 1000
"""Characters of a name that a local class is looked for under: each dot in it costs another look."""

_NOT_FOR_METHODS = frozenset({"__classcell__", "__qualname__"})
"""What ``type`` takes from a namespace for itself: a method of that name would keep it from making a class."""


_MadeFrom = tuple[object, object, object]


class _KnownClass:
    """A class of proxies that the next connection to such a peer gets as well."""

    __slots__ = ("_made_from", "_version", "cls")

    def __init__(self, cls: type[BaseNetref], made_from: _MadeFrom) -> None:
        self.cls = cls
        self._made_from = made_from
        self._version = _rpyc.type_version(cls)

    def is_made_from(self, made_from: _MadeFrom) -> bool:
        """Whether the class would be made from the same, and nobody has changed it since."""
        local, names, make = self._made_from
        return (
            local is made_from[0]
            and names is made_from[1]
            and make is made_from[2]
            and self._version == _rpyc.type_version(self.cls) != 0
        )


_known_classes: dict[tuple[str, object], _KnownClass] = {}


def _length_of(methods: Iterable[tuple[str, str | None]]) -> int:
    """How many characters a peer has told of a class."""
    return sum(len(str(name)) + len(str(doc)) for name, doc in methods)


def _make_class(
    name: str, local: type | None, methods: Iterable[tuple[str, str | None]]
) -> type[BaseNetref]:
    namespace: dict[str, Any] = {"__slots__": (), "__class__": NetrefClass(local)}
    for method, doc in methods:
        if str(method) not in LOCAL_ATTRS and str(method) not in _NOT_FOR_METHODS:
            namespace[str(method)] = _make_method(str(method), doc)
    cls: Any = NetrefMetaclass(printable(name), (BaseNetref,), namespace)
    if namespace.get("__call__") in _native_calls:
        _rpyc.install_call(cls)
    if name in _plain_iterator_names and namespace.get("__next__") in _native_nexts:
        _rpyc.install_next(cls)
    made: type[BaseNetref] = cls
    return made


def _local_class(name: str) -> type | None:
    """The local class of that dotted name, which a proxy may claim to be of."""
    known = _normalized_builtin_types.get(name)
    if known is not None or len(name) > _LONGEST_NAME:
        return known
    # The longest prefix that is an imported module; what follows is looked up in it.
    module_name, rest = name, ""
    while module_name and sys.modules.get(module_name) is None:
        module_name, _, last = module_name.rpartition(".")
        rest = f"{last}.{rest}" if rest else last
    if not module_name:
        return None
    module = sys.modules[module_name]
    # Not getattr: a module may run code for names that it does not have, and this is a peer's.
    names = types.ModuleType.__getattribute__(module, "__dict__") if _is_module(module) else {}
    found = names.get(rest)
    return found if isinstance(found, type) else type(module)


def _is_module(obj: object) -> bool:
    return issubclass(type(obj), types.ModuleType)


_native_calls: set[Any] = set()
"""The `__call__` methods that a native slot may stand in for."""


_native_nexts: set[Any] = set()
"""The `__next__` methods that a native slot may stand in for."""


def _make_method(name: str, doc: str | None) -> Callable[..., Any]:
    """Make the method ``name`` of a class of proxies."""
    method: Callable[..., Any]
    if name in _SLICERS:
        method = _make_slicer(name, _SLICERS[name])
    elif name == "__call__":
        method = _call
        _native_calls.add(method)
        return method
    elif name == "__next__":
        method = _next
        _native_nexts.add(method)
        return method
    elif name == "__array__":
        method = _array
        return method
    elif name == "__prepare__":
        method = _prepare
    else:

        def method(_self: BaseNetref, *args: Any, **kwargs: Any) -> Any:
            return syncreq(_self, consts.HANDLE_CALLATTR, name, args, tuple(kwargs.items()))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    return method


def _call(_self: BaseNetref, *args: Any, **kwargs: Any) -> Any:
    """Call the remote object."""
    return syncreq(_self, consts.HANDLE_CALL, args, tuple(kwargs.items()))


_call.__name__ = _call.__qualname__ = "__call__"


def _next(_self: BaseNetref, *args: Any, **kwargs: Any) -> Any:
    """Return the next item of the remote iterator; StopIteration if there is none."""
    return syncreq(_self, consts.HANDLE_CALLATTR, "__next__", args, tuple(kwargs.items()))


_next.__name__ = _next.__qualname__ = "__next__"


def _array(self: BaseNetref, *args: Any, **kwargs: Any) -> Any:
    """Fetch the remote array by value; the arguments go to its own ``__array__``."""
    return _fetch(self, -1).__array__(*args, **kwargs)


_array.__name__ = _array.__qualname__ = "__array__"


def _prepare(_self: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(_self, BaseNetref):
        # Python asks the class of a base for the namespace of a new class.
        raise TypeError(
            f"a remote class can't be a base of the local class {_self!r}: make the class at the "
            "other end, or give the remote class an object of this side to call"
        )
    return syncreq(_self, consts.HANDLE_CALLATTR, "__prepare__", args, tuple(kwargs.items()))


_SLICERS = {
    "__getslice__": "__getitem__",
    "__setslice__": "__setitem__",
    "__delslice__": "__delitem__",
}


def _make_slicer(name: str, item_name: str) -> Callable[..., Any]:
    """Make a slicing method of Python 2's time. Nothing but an explicit call uses it."""

    def method(self: BaseNetref, start: Any, stop: Any, *args: Any) -> Any:
        stop = None if stop == maxint else stop
        return syncreq(self, consts.HANDLE_OLDSLICING, item_name, name, start, stop, args)

    return method


_original_pickle = pickle


def _has_buffers(conn: Any) -> bool:
    """Whether pickles can travel with their buffers apart."""
    return isinstance(conn, _rpyc.Engine) and conn._native and conn._peer_has("pickle_buffers")


def _check_may_unpickle(proxy: BaseNetref) -> None:
    """Unpickling runs code that the peer chose: only with this side's permission."""
    if not proxy.____conn__._config.get("allow_pickle"):
        raise ValueError(
            "pickling is disabled: to copy a remote object by value, the configuration of this "
            "end of the connection must have allow_pickle, because its bytes come from the peer"
        )


def _fetch(proxy: BaseNetref, protocol: int) -> Any:
    """Copy a remote object by value. ``protocol``: of a pickle in one piece, if it is one."""
    _check_may_unpickle(proxy)
    conn = proxy.____conn__
    if pickle is _original_pickle and _has_buffers(conn):
        return buffers.load(syncreq(proxy, consts.HANDLE_PICKLE_BUFFERS))
    return pickle.loads(syncreq(proxy, consts.HANDLE_PICKLE, protocol))


# What the native class leaves to Python.


def _getattr(self: BaseNetref, name: str) -> Any:
    """Read an attribute of the remote object."""
    return syncreq(self, consts.HANDLE_GETATTR, name)


def _reduce_ex(self: BaseNetref, protocol: int) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
    """Support pickle and copy: what comes out is a copy by value."""
    _check_may_unpickle(self)
    return pickle.loads, (syncreq(self, consts.HANDLE_PICKLE, protocol),)


def _instancecheck(self: BaseNetref, other: Any) -> bool:
    """``isinstance(other, self)``."""
    _, class_id, instance_id = self.____id_pack__
    if instance_id != 0:
        raise TypeError(
            "isinstance() arg 2 must be a type, a tuple of types, or a union: "
            "the proxy stands for an instance"
        )
    if isinstance(other, BaseNetref):
        other_id_pack = other.____id_pack__
        if other_id_pack[1] == class_id:
            return bool(other_id_pack[2] != 0)
        return bool(syncreq(self, consts.HANDLE_INSTANCECHECK, other_id_pack))
    descriptor = type(self).__dict__.get("__class__")
    local = descriptor.instance if isinstance(descriptor, NetrefClass) else None
    return local is not None and isinstance(other, local)


for _cls in _builtin_types:
    _pack = get_id_pack(_cls)
    builtin_classes_cache[_pack[0]] = class_factory(_pack, get_methods(LOCAL_ATTRS, _cls))
del _cls, _pack

sys.modules[__name__].__class__ = watched_module(
    {
        *("syncreq", "asyncreq", "get_id_pack", "class_factory", "_make_method", "pickle", "consts"),
        "builtin_classes_cache",
    },
    _rpyc.extension_changed,
)
