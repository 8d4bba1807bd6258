"""Which attributes of a received exception are set.

All of them are the peer's word. What is set must only be data: it must run no code, cover nothing
that the class has, and not harm whoever shows the exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

Attrs = tuple[tuple[Any, Any], ...]

# "args" travels apart. The methods are those of every exception: as texts, they would only cover
# the receiver's own.
NOT_SENT = frozenset({"args", "with_traceback", "add_note"})
"""Public attributes that do not travel."""

_MISSING: Any = object()
_UNICODE_FIELDS = ("encoding", "object", "start", "end", "reason")
_SYNTAX_TEXTS = frozenset({"msg", "filename", "text"})
_SYNTAX_NUMBERS = frozenset({"lineno", "offset", "end_lineno", "end_offset"})
_MAX_OFFSET = 100_000


def harmless(cls: type, attrs: Attrs) -> Iterator[tuple[str, Any]]:
    """The attributes that mean data: no special or private names, and nothing that has code."""
    for name, value in attrs:
        if type(name) is not str or (name.startswith("_") and name != "_remote_version"):
            continue
        if name not in NOT_SENT and _is_data(cls, name) and _fits(cls, name, value):
            yield name, value
    if issubclass(cls, UnicodeError):
        yield from _unicode_fields(cls, attrs)


def _fits(cls: type, name: str, value: Any) -> bool:
    """Whether the interpreter can show an exception with this value in this field.

    Its own exceptions check less than their constructors do.
    """
    if issubclass(cls, UnicodeError):
        return name not in _UNICODE_FIELDS
    if issubclass(cls, SyntaxError):
        if name in _SYNTAX_NUMBERS:
            # Carets are drawn up to there.
            return value is None or (type(value) is int and abs(value) <= _MAX_OFFSET)
        return name not in _SYNTAX_TEXTS or value is None or type(value) is str
    # From Python 3.12 on, showing the traceback imports the module "name" if this is set.
    return not (issubclass(cls, ImportError) and name == "name_from")


def _unicode_fields(cls: type, attrs: Attrs) -> Iterator[tuple[str, Any]]:
    """The fields of a UnicodeError, if they go together.

    Its text reads ``object`` at ``start`` without looking where that is: in some versions of
    Python a negative number ends the process.
    """
    found = {name: attribute(attrs, name, None) for name in _UNICODE_FIELDS}
    data, start, end = found["object"], found["start"], found["end"]
    if type(data) is not (bytes if issubclass(cls, UnicodeDecodeError) else str):
        return
    if type(start) is not int or type(end) is not int or not 0 <= start <= end <= len(data):
        return
    if all(found[name] is None or type(found[name]) is str for name in ("encoding", "reason")):
        yield from ((name, value) for name, value in found.items() if value is not None)


def _is_data(cls: type, name: str) -> bool:
    """Whether setting an attribute of an instance only stores the value, and covers nothing.

    So it is for what the class does not know, for its slots and the fields of builtin exceptions,
    and for plain values that it has as defaults. Methods, properties and other descriptors are the
    class's code.
    """
    for base in cls.__mro__:
        found = vars(base).get(name, _MISSING)
        if found is _MISSING:
            continue
        if isinstance(found, (MemberDescriptorType, GetSetDescriptorType)):
            return True
        return not callable(found) and not _is_descriptor(type(found))
    return True


def _is_descriptor(cls: type) -> bool:
    return any(hasattr(cls, name) for name in ("__get__", "__set__", "__delete__"))


def attribute(attrs: Attrs, name: str, otherwise: Any) -> Any:
    """The value under a name; ``otherwise`` if there is none."""
    return next((value for attr, value in attrs if attr == name), otherwise)
