"""Moving values and functions between the two sides of a classic connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpyc.core import netref
from rpyc.core._connection import buffers
from rpyc.core.netref import BaseNetref
from rpyc.lib.compat import pickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpyc.core.protocol import Connection


def obtain(proxy: Any) -> Any:
    """Return a local copy of a remote object.

    The object is pickled by its owner, so its connection must allow that
    (``allow_pickle``; classic connections do).
    """
    if pickle is netref._original_pickle and _is_plain(proxy):
        return netref._fetch(proxy, pickle.DEFAULT_PROTOCOL)
    return pickle.loads(pickle.dumps(proxy))


def _is_plain(obj: Any) -> bool:
    """Whether an object is a proxy that is pickled as all proxies are."""
    cls = type(obj)
    return issubclass(cls, BaseNetref) and cls.__reduce_ex__ is BaseNetref.__reduce_ex__


def deliver(conn: Connection, localobj: Any) -> Any:
    """Make a copy of a local object on the other side; return the copy's proxy."""
    if netref._has_buffers(conn):
        return conn.modules["rpyc.core._connection.buffers"].load(buffers.dump(localobj))
    return conn.modules["rpyc.lib.compat"].pickle.loads(pickle.dumps(localobj))


def teleport_function(
    conn: Connection, func: Callable[..., Any], globals: Any = None, def_: bool = True
) -> Callable[..., Any]:
    """Make a copy of a local function that runs on the other side.

    :param func: a plain Python function without closure.
    :param globals: a remote dict to use as its globals; by default the remote
        namespace (``conn.namespace``), as it is when the function is called.
    :param def_: also store the function there, under its name.
    :returns: a proxy of the copy.
    :raises TypeError: the function cannot be exported, or the two Python
        versions do not share their bytecode.
    """
    from rpyc.utils import teleportation

    _require_same_bytecode(conn, func)
    if globals is None:
        globals = conn.namespace
    exported = teleportation.export_function(func)
    copy: Callable[..., Any] = conn.modules["rpyc.utils.teleportation"].import_function(
        exported, globals, def_
    )
    return copy


def _require_same_bytecode(conn: Connection, func: Callable[..., Any]) -> None:
    import importlib.util
    import platform

    # Foreign bytecode is not refused by the interpreter, it crashes it.
    if conn.modules["importlib.util"].MAGIC_NUMBER == importlib.util.MAGIC_NUMBER:
        return
    remote = conn.modules["platform"]
    raise TypeError(
        f"cannot teleport {getattr(func, '__name__', func)!r}: its bytecode is of "
        f"{platform.python_implementation()} {platform.python_version()}, the other side runs "
        f"{remote.python_implementation()} {remote.python_version()}; "
        "use conn.execute with the function's source instead"
    )
