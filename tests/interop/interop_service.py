"""What the server program serves: one service, and the kinds of object it hands out.

The module is imported by the server only, so for the client its classes are classes it has never heard of.
It runs under either package and uses nothing but names that both have.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shared_errors import TeapotError

import rpyc


class Number:
    """A number with every operator, so that each special method can be seen to cross the wire."""

    def __init__(self, value: int) -> None:
        self.exposed_value = value

    def __repr__(self) -> str:
        return f"Number({self.exposed_value})"

    def __str__(self) -> str:
        return f"number {self.exposed_value}"

    def __hash__(self) -> int:
        return hash(("Number", self.exposed_value))

    def __eq__(self, other: object) -> Any:
        return self.exposed_value == _plain(other) if _plain(other) is not None else NotImplemented

    def __lt__(self, other: object) -> Any:
        return self.exposed_value < _plain(other) if _plain(other) is not None else NotImplemented

    def __le__(self, other: object) -> Any:
        return self.exposed_value <= _plain(other) if _plain(other) is not None else NotImplemented

    def __add__(self, other: Any) -> int:
        return int(self.exposed_value + _plain(other))

    def __radd__(self, other: Any) -> int:
        return int(_plain(other) + self.exposed_value)

    def __sub__(self, other: Any) -> int:
        return int(self.exposed_value - _plain(other))

    def __rsub__(self, other: Any) -> int:
        return int(_plain(other) - self.exposed_value)

    def __mul__(self, other: Any) -> int:
        return int(self.exposed_value * _plain(other))

    def __truediv__(self, other: Any) -> float:
        return float(self.exposed_value / _plain(other))

    def __floordiv__(self, other: Any) -> int:
        return int(self.exposed_value // _plain(other))

    def __mod__(self, other: Any) -> int:
        return int(self.exposed_value % _plain(other))

    def __divmod__(self, other: Any) -> tuple[int, int]:
        return int(self.exposed_value // _plain(other)), int(self.exposed_value % _plain(other))

    def __pow__(self, other: Any) -> int:
        return int(self.exposed_value ** _plain(other))

    def __lshift__(self, other: int) -> int:
        return self.exposed_value << other

    def __rshift__(self, other: int) -> int:
        return self.exposed_value >> other

    def __and__(self, other: int) -> int:
        return self.exposed_value & other

    def __or__(self, other: int) -> int:
        return self.exposed_value | other

    def __xor__(self, other: int) -> int:
        return self.exposed_value ^ other

    def __neg__(self) -> int:
        return -self.exposed_value

    def __pos__(self) -> int:
        return +self.exposed_value

    def __abs__(self) -> int:
        return abs(self.exposed_value)

    def __invert__(self) -> int:
        return ~self.exposed_value

    def __int__(self) -> int:
        return int(self.exposed_value)

    def __float__(self) -> float:
        return float(self.exposed_value)

    def __index__(self) -> int:
        return self.exposed_value

    def __bool__(self) -> bool:
        return self.exposed_value != 0

    def __iadd__(self, other: Any) -> Number:
        self.exposed_value += _plain(other)
        return self

    def __format__(self, spec: str) -> str:
        return "<" + format(self.exposed_value, spec) + ">"


def _plain(value: Any) -> Any:
    """The int behind a number, ours or a proxy of one; None for anything else."""
    if isinstance(value, (int, float)):
        return value
    return getattr(value, "exposed_value", None)


class Shelf:
    """A container with the whole item protocol, and attributes of every degree of privacy.

    A doc text of its own.
    """

    exposed_label = "shelf"
    public_label = "public"

    def __init__(self, *items: Any) -> None:
        self._items = list(items)
        self.exposed_note = "note"
        self.plain = 1
        self._private = 2
        self.both = "plain twin"
        self.exposed_both = "exposed twin"

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        got = self._items[index]
        return tuple(got) if isinstance(got, list) else got

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value

    def __delitem__(self, index: Any) -> None:
        del self._items[index]

    def __contains__(self, value: Any) -> bool:
        return value in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return args, tuple(sorted(kwargs.items()))

    def exposed_put(self, value: Any) -> int:
        """Append a value; the new length."""
        self._items.append(value)
        return len(self._items)

    def hidden(self) -> str:
        """Not exposed."""
        return "hidden"


class Guard:
    """A context manager that remembers what it saw."""

    def __init__(self, swallow: bool) -> None:
        self._swallow = swallow
        self.exposed_seen: tuple[str, ...] = ()

    def __enter__(self) -> str:
        self.exposed_seen += ("enter",)
        return "entered"

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        self.exposed_seen += ("clean" if kind is None else "failed",)
        return self._swallow


class InteropService(rpyc.Service):
    """The root object of every scenario that is not in classic mode."""

    ALIASES = ["interop", "second"]

    def on_connect(self, conn: Any) -> None:
        """Keep the connection, for the calls that go the other way."""
        self._conn = conn
        self._kept: Any = None

    # Values and references

    def exposed_echo(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """All arguments, as plain tuples."""
        return args, tuple(sorted(kwargs.items()))

    def exposed_same(self, value: Any) -> Any:
        """The argument itself."""
        return value

    def exposed_thrice(self, value: Any) -> tuple[Any, Any, Any]:
        """The argument three times in one reply."""
        return value, value, value

    def exposed_size(self, value: Any) -> int:
        """Its length, so that large data can be checked one way."""
        return len(value)

    def exposed_blob(self, size: int) -> bytes:
        """`size` equal bytes."""
        return b"z" * size

    def exposed_append(self, target: Any, value: Any) -> None:
        """Change an object of the client's."""
        target.append(value)

    def exposed_keep(self, value: Any) -> None:
        """Hold a reference to an object of the client's."""
        self._kept = value

    def exposed_kept(self) -> Any:
        """Give back what is held."""
        return self._kept

    def exposed_drop(self) -> None:
        """Let go of it."""
        self._kept = None
        gc.collect()

    # Objects

    def exposed_number(self, value: int) -> Number:
        """A number with operators."""
        return Number(value)

    def exposed_number_class(self) -> type[Number]:
        """The class of those numbers."""
        return Number

    def exposed_shelf(self, *items: Any) -> Shelf:
        """A container."""
        return Shelf(*items)

    def exposed_shelf_class(self) -> type[Shelf]:
        """The class of those containers."""
        return Shelf

    def exposed_guard(self, swallow: bool) -> Guard:
        """A context manager."""
        return Guard(swallow)

    def exposed_managed(self, seen: list[str]) -> Any:
        """A generator-based context manager, reporting into the client's list."""

        @contextmanager
        def managed() -> Iterator[str]:
            try:
                yield "managed"
            finally:
                seen.append("left")

        return managed()

    def exposed_list(self, *items: Any) -> list[Any]:
        """A real list."""
        return list(items)

    def exposed_dict(self, **items: Any) -> dict[str, Any]:
        """A real dict."""
        return items

    def exposed_module(self, name: str) -> Any:
        """A module of the server's."""
        return __import__(name)

    def exposed_generator(self, count: int) -> Iterator[int]:
        """The squares below `count`."""
        return (n * n for n in range(count))

    def exposed_isinstance(self, value: Any, kind: Any) -> bool:
        """isinstance, decided on the server."""
        return isinstance(value, kind)

    # Failures

    def exposed_raise(self, name: str, *args: Any) -> None:
        """Raise a builtin exception by name, or the shared one."""
        if name == "TeapotError":
            raise TeapotError(*args)
        import builtins

        raise getattr(builtins, name)(*args)

    def exposed_sleep(self, seconds: float) -> float:
        """Be busy for a while."""
        time.sleep(seconds)
        return seconds

    # Calls the other way

    def exposed_apply(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the client's."""
        return function(*args, **kwargs)

    def exposed_bounce(self, function: Callable[..., Any], depth: int) -> tuple[Any, ...]:
        """Call back with our own bound method, until the depth is used up."""
        if depth == 0:
            return ("bottom",)
        return ("server", depth, *function(self.exposed_bounce, depth - 1))

    def exposed_ask_client(self, name: str, *args: Any) -> Any:
        """Call a method of the *client's* root."""
        return getattr(self._conn.root, name)(*args)

    def exposed_client_service_name(self) -> str:
        """The name of the service on the client's side."""
        return str(self._conn.root.get_service_name())

    # Introspection

    def exposed_live_objects(self) -> int:
        """How many objects this connection holds for the client."""
        gc.collect()
        return len(self._conn._local_objects._dict)

    def exposed_hang_up(self) -> None:
        """Close the connection from this side, in the middle of a call."""
        self._conn.close()
