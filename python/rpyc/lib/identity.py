"""What a peer is told about an object: its id pack and its methods."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Container, ItemsView
from typing import Any, TypeGuard

from rpyc import _rpyc

_PLAIN_ROUTINES = frozenset(
    {
        types.FunctionType,
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.ClassMethodDescriptorType,
        staticmethod,
        classmethod,
    }
)

_PLAIN_DATA = frozenset(
    {
        types.GetSetDescriptorType,
        types.MemberDescriptorType,
        types.NoneType,
        property,
        type,
        str,
        int,
        bool,
        tuple,
        dict,
    }
)
"""Kinds of class members that are no routines."""


def get_id_pack(obj: object) -> tuple[str, int, int]:
    """Return the id pack of an object: name, id of its class, id of the object.

    For a class the second part is the id of the class itself and the third one is 0, which marks a
    class. A netref's id pack is the one its owner gave it. (``protocol.md``, section 7.)
    """
    if _is_class(obj):
        return _dotted_name(obj), id(obj), 0
    kind = type(obj)
    pack = _given_id_pack(obj)
    if pack is not None:
        return pack
    if issubclass(kind, types.ModuleType):
        return _module_name(obj, kind), id(kind), id(obj)
    return _class_name(obj, kind), id(kind), id(obj)


def printable(name: str) -> str:
    """A name that a peer has given, as it may be shown: without line ends, NUL and the like.

    They could make a log say what never happened, and a class name can't hold NUL at all.
    """
    if name.isprintable():
        return name
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def get_methods(obj_attrs: Container[str], obj: object) -> ItemsView[str, str | None]:
    """Return what a netref class for ``obj`` must define: pairs of method name and doc text.

    Looks at the classes of ``obj``; for a class at its metaclasses first and then at the class
    itself. Names in ``obj_attrs`` are left out. (``protocol.md``, section 15.)
    """
    kind = type(obj)
    if not _is_class(obj):
        return _methods_of(kind, obj_attrs).items()
    attrs = _attributes(kind)
    attrs.update(_attributes(obj))
    return _methods(obj_attrs, attrs).items()


def hasattr_static(obj: object, attr: str) -> bool:
    """Whether ``obj`` has the attribute, found without running descriptors or ``__getattr__``."""
    import inspect

    try:
        inspect.getattr_static(obj, attr)
    except AttributeError:
        return False
    return True


def _is_class(obj: object) -> TypeGuard[type]:
    """Whether ``obj`` is a class. What it says of its ``__class__`` doesn't count."""
    return issubclass(type(obj), type)


def _given_id_pack(obj: object) -> tuple[str, int, int] | None:
    """The id pack that a netref carries.

    The generic lookup finds the netref's slot without traffic, and does not ask a ``__getattr__``
    that answers to every name.
    """
    try:
        pack = object.__getattribute__(obj, "____id_pack__")
    except AttributeError:
        return None
    return pack if isinstance(pack, tuple) and len(pack) == 3 else None


def _module_name(module: object, kind: type) -> str:
    name = object.__getattribute__(module, "__dict__").get("__name__")
    if isinstance(name, str) and name in sys.modules:
        return name
    return f"{getattr(kind, '__module__', None)}.{name}"


def _class_name(obj: object, kind: type) -> str:
    """The name of ``obj.__class__``, which an object may choose; the real class if that fails."""
    try:
        cls: Any = obj.__class__
        return _dotted_name(cls)
    except Exception:
        return _dotted_name(kind)


def _dotted_name(cls: type) -> str:
    # A class that `type(...)` made where there is no `__name__`, as in `eval`, has no module.
    return f"{getattr(cls, '__module__', None)}.{cls.__name__}"


_Methods = dict[str, "str | None"]

_MOST_KINDS = 256

_known_methods: dict[int, tuple[Container[str], list[str | None], _Methods]] = {}
"""By the version of a type: the names to leave out, the texts as its methods have them, and what there
is to tell. Keeps no object of the type alive."""


def _methods_of(kind: type, obj_attrs: Container[str]) -> _Methods:
    """The methods of a type.

    Each new connection asks for those of its root, and finding them takes long.
    """
    # Read before the classes are: what changes meanwhile counts.
    version = _rpyc.type_version(kind)
    known = _known_methods.get(version)
    if known is not None:
        left_out, texts, methods = known
        # A text can change without its type.
        if left_out is obj_attrs and _texts(kind, methods) == texts:
            return methods
    attrs = _attributes(kind)
    methods = _methods(obj_attrs, attrs)
    # Reading their texts again is to run no code of the program.
    plain = type(kind) is type and _PLAIN_ROUTINES.issuperset(type(attrs[name]) for name in methods)
    if version and plain and type(obj_attrs) is frozenset:
        if len(_known_methods) >= _MOST_KINDS:
            _known_methods.clear()
        _known_methods[version] = obj_attrs, _texts(kind, methods), methods
    return methods


def _texts(kind: type, methods: _Methods) -> list[str | None]:
    find = type.__getattribute__
    return [find(kind, name).__doc__ for name in methods]


def _attributes(cls: type) -> dict[str, object]:
    """What a class and its bases define, by name."""
    attrs: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        attrs.update(vars(base))
    return attrs


def _methods(obj_attrs: Container[str], attrs: dict[str, object]) -> _Methods:
    return {
        name: _doc(attr)
        for name, attr in attrs.items()
        if name not in obj_attrs and _is_routine(attr)
    }


def _is_routine(attr: object) -> bool:
    kind = type(attr)
    if kind in _PLAIN_ROUTINES:
        return True
    if kind in _PLAIN_DATA:
        return False
    # Only here and below: it takes many modules along, and builtin classes don't need it.
    import inspect

    return inspect.isroutine(attr)


def _doc(attr: object) -> str | None:
    doc = attr.__doc__
    if isinstance(doc, str):
        return _cleaned(doc)
    import inspect

    # Looks for the text of an overridden method.
    return inspect.getdoc(attr)


@functools.lru_cache(maxsize=4096)
def _cleaned(doc: str) -> str:
    """A doc text without its indentation. Cached: the same texts are asked for again and again."""
    if _is_clean(doc):
        return doc
    import inspect

    return inspect.cleandoc(doc)


def _is_clean(doc: str) -> bool:
    """Whether cleaning would surely change nothing: there is a line without indentation to go by."""
    if not doc or "\t" in doc or doc[0].isspace() or doc[-1].isspace():
        return False
    _, *following = doc.split("\n")
    return not following or any(line and not line[0].isspace() for line in following)
