"""What programs expect on a connection: the tables of the engine, as containers, and a few names more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from rpyc.core.netref import BaseNetref, IdPack

if TYPE_CHECKING:
    from rpyc._rpyc import Engine

Callback = Callable[[bool, Any], object]


class LocalObjects:
    """The objects that the peer refers to, by id pack."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getitem__(self, id_pack: IdPack) -> Any:
        entry = self._engine._table_get(id_pack, by_address=True)
        if entry is None:
            raise KeyError(id_pack)
        return entry[0]

    def __contains__(self, id_pack: IdPack) -> bool:
        return self._engine._table_get(id_pack, by_address=True) is not None

    def __len__(self) -> int:
        return len(self._engine._table_items())

    def named(self, id_pack: IdPack) -> Any:
        """The object that the peer names by exactly this id pack; KeyError if there is none."""
        entry = self._engine._table_get(id_pack)
        if entry is None:
            raise KeyError(id_pack)
        return entry[0]

    def add(self, id_pack: IdPack, obj: Any) -> None:
        """Count one more reference to an object, and hold it if it is new."""
        self._engine._table_add(id_pack, obj)

    def decref(self, id_pack: IdPack, count: int = 1) -> None:
        """Give back references; KeyError if there is no such object."""
        self._engine._table_release(id_pack, count)

    @property
    def _dict(self) -> dict[IdPack, list[Any]]:
        """A copy of the table: id pack -> [object, references handed out minus one]."""
        return {pack: [obj, count - 1] for pack, obj, count in self._engine._table_items()}

    def __repr__(self) -> str:
        return repr(self._dict)


class ProxyCache(MutableMapping[IdPack, BaseNetref]):
    """The live proxies, by id pack, held weakly."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getitem__(self, id_pack: IdPack) -> BaseNetref:
        proxy = self._engine._proxy_get(id_pack)
        if proxy is None:
            raise KeyError(id_pack)
        return proxy

    def __setitem__(self, id_pack: IdPack, proxy: BaseNetref) -> None:
        self._engine._proxy_put(id_pack, proxy)

    def __delitem__(self, id_pack: IdPack) -> None:
        if not self._engine._proxy_forget(id_pack):
            raise KeyError(id_pack)

    def __iter__(self) -> Iterator[IdPack]:
        return iter([pack for pack, _ in self._engine._proxy_items()])

    def __len__(self) -> int:
        return len(self._engine._proxy_items())


class RequestCallbacks(MutableMapping[int, Callback]):
    """What waits for the answers to our requests, by sequence number."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getitem__(self, seq: int) -> Callback:
        callback = self._engine._pending_take(seq)
        if callback is None:
            raise KeyError(seq)
        # Taking it is the only way to look; the wrapper that comes back delivers to the same place.
        self._engine._pending_put(seq, callback)
        return callback

    def __setitem__(self, seq: int, callback: Callback) -> None:
        self._engine._pending_put(seq, callback)

    def __delitem__(self, seq: int) -> None:
        if self._engine._pending_take(seq) is None:
            raise KeyError(seq)

    def __iter__(self) -> Iterator[int]:
        return iter(self._engine._pending_seqs())

    def __len__(self) -> int:
        return len(self._engine._pending_seqs())


class ReadLock:
    """The right to read, as programs look at it: its text tells whether a thread holds it."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def locked(self) -> bool:
        """Whether a thread is reading from the connection."""
        return self._engine._is_being_read

    def __repr__(self) -> str:
        word = "locked" if self.locked() else "unlocked"
        return f"<{word} rpyc read role count={int(self.locked())}>"


def on_demand(name: str, make: Callable[[], Any]) -> property:
    """An attribute of a connection, called ``name``, that is made when a program looks at it.

    A property and no function's result that is cached: peers are told of the methods of a
    connection, and this is none.
    """

    def look(conn: Any) -> Any:
        found = conn.__dict__.get(name)
        return conn.__dict__.setdefault(name, make()) if found is None else found

    def put(conn: Any, value: Any) -> None:
        conn.__dict__[name] = value

    def forget(conn: Any) -> None:
        del conn.__dict__[name]

    return property(look, put, forget)
