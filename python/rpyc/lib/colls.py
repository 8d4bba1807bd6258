"""The tables of a connection: weakly held proxies and counted objects."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class WeakValueDict(weakref.WeakValueDictionary[_K, _V]):
    """A dictionary whose entries vanish when nobody else holds their value."""

    def iterkeys(self) -> Iterator[_K]:
        """The same as ``keys()``."""
        return self.keys()

    def itervalues(self) -> Iterator[_V]:
        """The same as ``values()``."""
        return self.values()

    def iteritems(self) -> Iterator[tuple[_K, _V]]:
        """The same as ``items()``."""
        return self.items()


class RefCountingColl(Generic[_K, _V]):
    """Objects by key, each kept until it was given back as often as it was added.

    The count is "how often added, minus one": the first ``add`` sets it to 0. An object that is
    dropped is dropped outside the lock, since its finalizer may come back here.
    """

    __slots__ = ("_dict", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Key -> [object, count].
        self._dict: dict[_K, list[Any]] = {}

    def add(self, key: _K, obj: _V) -> None:
        """Count one more reference to ``obj``, and hold it under ``key`` if that is new."""
        with self._lock:
            slot = self._dict.setdefault(key, [obj, -1])
            slot[1] += 1

    def decref(self, key: _K, count: int = 1) -> None:
        """Give back ``count`` references; with the last one the object leaves.

        Raises ``KeyError`` if nothing is held under ``key``.
        """
        with self._lock:
            slot = self._dict[key]
            if slot[1] < count:
                del self._dict[key]
            else:
                slot[1] -= count

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            held, self._dict = self._dict, {}
        held.clear()

    def __getitem__(self, key: _K) -> _V:
        with self._lock:
            obj: _V = self._dict[key][0]
            return obj

    def __repr__(self) -> str:
        return repr(self._dict)
