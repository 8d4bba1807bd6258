"""Marks that make members of a class reachable for peers.

A mark is the attribute ``__exposed__`` of a member; its value is a name prefix. Publishing a class
gives each marked member a twin: the same member under prefix + name, which is what a connection
looks for (``docs/access.md``, sections 2 and 6).
"""

from __future__ import annotations

from typing import Any

_MARK = "__exposed__"


def mark(member: Any, prefix: str) -> Any:
    """Mark a function, class or descriptor, and return it.

    A plain property takes no attributes: a property that carries the mark is returned for it.
    Raises ``AttributeError`` for other objects that take none, such as builtin functions.
    """
    if type(member) is property:
        return _MarkedProperty(member.fget, member.fset, member.fdel, member.__doc__, prefix)
    setattr(member, _MARK, prefix)
    return member


def publish(cls: type) -> None:
    """Give the marked members of a class their twins, and so for marked nested classes.

    Inherited members count. A member that overrides a marked one takes its place under the twin's
    name too, so that a peer never gets around the override. Publishing twice changes nothing.
    """
    _publish(cls, set())


class _MarkedProperty(property):
    """A property with a mark, which its setters and deleters keep."""

    def __init__(self, fget: Any, fset: Any, fdel: Any, doc: str | None, prefix: str) -> None:
        super().__init__(fget, fset, fdel)
        # In the object itself: this class's own text would cover the one inside property.
        self.__doc__ = doc
        self.__exposed__ = prefix

    def getter(self, fget: Any, /) -> property:
        return _MarkedProperty(fget, self.fset, self.fdel, self.__doc__, self.__exposed__)

    def setter(self, fset: Any, /) -> property:
        return _MarkedProperty(self.fget, fset, self.fdel, self.__doc__, self.__exposed__)

    def deleter(self, fdel: Any, /) -> property:
        return _MarkedProperty(self.fget, self.fset, fdel, self.__doc__, self.__exposed__)


def _publish(cls: type, seen: set[type]) -> None:
    if cls in seen:
        return
    seen.add(cls)
    names = {name: None for base in reversed(cls.__mro__) for name in vars(base)}
    for name in names:
        prefix = _inherited_mark(cls, name)
        if prefix is None or name.startswith(prefix):
            continue
        member, depth = _find(cls, name)
        _publish_member(cls, prefix + name, member, depth)
        if isinstance(member, type):
            _publish(member, seen)


def _publish_member(cls: type, twin: str, member: Any, depth: int) -> None:
    """Set the twin, unless a class nearer than the member's owner defines one."""
    present, present_depth = _find(cls, twin)
    if depth <= present_depth and present is not member:
        setattr(cls, twin, member)


def _find(cls: type, name: str) -> tuple[Any, int]:
    """The raw member of that name, and how far up the MRO it is; beyond its end if absent."""
    for depth, base in enumerate(cls.__mro__):
        if name in vars(base):
            return vars(base)[name], depth
    return None, len(cls.__mro__)


def _inherited_mark(cls: type, name: str) -> str | None:
    """The nearest mark among the members of that name in the MRO."""
    for base in cls.__mro__:
        prefix = _mark_of(vars(base).get(name))
        if prefix is not None:
            return prefix
    return None


def _mark_of(member: Any) -> str | None:
    """The mark of a raw member, or of the function that it wraps.

    All lookups are static: a member may be a netref or a mock that answers to every name.
    """
    if isinstance(member, type):
        return _text(vars(member).get(_MARK))
    own = _text(_static_dict(member).get(_MARK))
    if own is not None:
        return own
    if not hasattr(type(member), "__get__"):
        # An instance of a marked class is not marked.
        return None
    if isinstance(member, (staticmethod, classmethod)):
        return _mark_of(member.__func__)
    if isinstance(member, property):
        return _mark_of(member.fget)
    return _text(_static(member, _MARK))


def _static_dict(obj: Any) -> dict[str, Any]:
    return _static(obj, "__dict__") or {}


def _static(obj: Any, name: str) -> Any:
    try:
        return object.__getattribute__(obj, name)
    except AttributeError:
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
