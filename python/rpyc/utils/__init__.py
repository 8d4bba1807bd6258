"""Decorators that say what a peer may reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rpyc.core.protocol import DEFAULT_CONFIG
from rpyc.lib.deferred import lazily
from rpyc.lib.exposing import mark, publish

if not TYPE_CHECKING:
    # `import rpyc` makes these reachable, and few programs need them all.
    __getattr__, __dir__ = lazily(
        __name__,
        {
            name: f"{__name__}.{name}"
            for name in ("authenticators", "classic", "registry", "server")
        },
    )

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)


@overload
def exposed(arg: str) -> Callable[[_T], _T]: ...
@overload
def exposed(arg: _T) -> _T: ...
def exposed(arg: Any) -> Any:
    """Mark a member of a class as reachable for peers.

    ``@exposed`` uses the prefix that ``DEFAULT_CONFIG`` has at that moment; ``@exposed("my_")``
    names another one, reachable on connections whose ``exposed_prefix`` is the same. Functions,
    static and class methods, properties, other descriptors and nested classes can be marked. Marks
    take effect in subclasses of :class:`rpyc.Service`, and in classes decorated with
    :func:`service`.

    Raises ``TypeError`` for anything else, and ``AttributeError`` for callables that take no
    attributes.
    """
    if isinstance(arg, str):
        return lambda member: _expose(member, arg)
    prefix = DEFAULT_CONFIG["exposed_prefix"]
    return _expose(arg, prefix)


def service(cls: _C) -> _C:
    """Put the marks of :func:`exposed` in the class into effect, and return the class.

    Each marked member becomes available under the prefixed name too; marked nested classes are
    treated likewise. Subclasses of :class:`rpyc.Service` don't need this; it does them no harm.
    """
    publish(cls)
    return cls


def _expose(member: Any, prefix: str) -> Any:
    if not callable(member) and not hasattr(member, "__get__"):
        raise TypeError("rpyc.exposed expects a callable object, descriptor, or string")
    return mark(member, prefix)
