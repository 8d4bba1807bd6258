"""Noticing that a program changes a table or a name: so that only then it has a price."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import ModuleType
from typing import Any, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class WatchedDict(dict[_K, _V]):
    """A dictionary that calls ``notice()`` after every change."""

    __slots__ = ("_notice",)

    def __init__(self, items: Mapping[_K, _V], notice: Callable[[], None]) -> None:
        super().__init__(items)
        self._notice = notice

    def __setitem__(self, key: _K, value: _V) -> None:
        super().__setitem__(key, value)
        self._notice()

    def __delitem__(self, key: _K) -> None:
        super().__delitem__(key)
        self._notice()

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        # dict's own is typed with overloads; it would go around update().
        self.update(other)
        return self

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        self._notice()

    def setdefault(self, key: Any, default: Any = None) -> Any:
        value = super().setdefault(key, default)
        self._notice()
        return value

    def pop(self, *args: Any) -> Any:
        value = super().pop(*args)
        self._notice()
        return value

    def popitem(self) -> tuple[_K, _V]:
        item = super().popitem()
        self._notice()
        return item

    def clear(self) -> None:
        super().clear()
        self._notice()


def watched_module(names: Container[str], notice: Callable[[], None]) -> type[ModuleType]:
    """Return a module class that calls ``notice()`` when one of ``names`` is assigned from outside.

    Assign it to a module's ``__class__``. What the module's own code assigns goes unnoticed.
    """

    class WatchedModule(ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name in names:
                notice()

    return WatchedModule
