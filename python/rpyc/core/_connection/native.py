"""Whether a connection takes the native path: not where a program has replaced what that goes around.

Programs subclass, override and patch RPyC's Python names. A connection for which nothing of that kind
was done is driven by the engine alone; any other through its Python methods. The engine asks
:func:`is_native` when something may have changed, and keeps the answer; of another connection of the
same class it asks :func:`is_untouched` only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rpyc import _rpyc
from rpyc.core import async_, brine, netref
from rpyc.core._connection.handlers import Handlers
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream, SocketStream
from rpyc.lib import get_id_pack

if TYPE_CHECKING:
    import socket

    from rpyc.core.protocol import Connection

HOOKS = frozenset(
    {
        *(name for name in vars(Handlers) if name.startswith("_handle_")),
        "_access_attr",
        "_async_request",
        "_box",
        "_check_attr",
        "_dispatch",
        "_dispatch_request",
        "_get_seq_id",
        "_netref_factory",
        "_request_handlers",
        "_send",
        "_seq_request_callback",
        "_serialize_exception",
        "_unbox",
        "async_request",
        "serve",
        "sync_request",
    }
)
"""Methods of a connection that programs override."""

_methods: dict[str, object] = {}
_result_members = dict(vars(async_.AsyncResult))
_get_id_pack = get_id_pack
_syncreq = netref.syncreq
_asyncreq = netref.asyncreq

# The methods, and the constants that only they obey; the threshold is the engine's as well.
_CHANNEL_MEMBERS = {
    name: getattr(Channel, name)
    for name in (
        *("poll", "recv", "send", "close"),
        *("COMPRESSION_LEVEL", "FRAME_HEADER", "FLUSHER", "MAX_FRAME_SIZE", "MAX_INFLATED_SIZE"),
    )
}
_STREAM_METHODS = ("read", "write", "poll", "close", "fileno")
_SOCKET_METHODS = {name: getattr(SocketStream, name) for name in _STREAM_METHODS}
_PIPE_METHODS = {name: getattr(PipeStream, name) for name in _STREAM_METHODS}

_plain_versions: dict[type, int] = {}
"""The versions of classes of which it is known that nobody replaced a member."""


def remember(cls: type[Connection]) -> None:
    """Take the hooks of the connection class as what they are before a program replaces any."""
    _methods.update((name, _plain_function(cls, name)) for name in HOOKS)


def is_native(conn: Connection) -> bool:
    """Whether nothing is overridden or patched that the native path would go around."""
    # Here, as this module is a part of that one; and its names, as they are now, are what counts.
    from rpyc.core import protocol

    cls = type(conn)
    return (
        not brine._extended()
        and is_untouched(conn)
        and all(_plain_function(cls, name) is method for name, method in _methods.items())
        and netref.syncreq is _syncreq
        and netref.asyncreq is _asyncreq
        and protocol.get_id_pack is _get_id_pack
        and protocol.AsyncResult is async_.AsyncResult is _rpyc.AsyncResult
        and dict(vars(async_.AsyncResult)) == _result_members
    )


def is_untouched(conn: Connection) -> bool:
    """Whether nothing is overridden on the connection itself."""
    own = conn.__dict__
    return not own.get("_handlers_changed") and HOOKS.isdisjoint(own)


def is_original(conn: Connection, name: str) -> bool:
    """Whether the connection's method of this name is the one that the package has."""
    return name not in conn.__dict__ and _plain_function(type(conn), name) is _methods[name]


def is_plain_channel(channel: object) -> bool:
    """Whether the engine can frame messages itself."""
    return _is_plain(channel, Channel, _CHANNEL_MEMBERS)


def is_plain_socket_stream(stream: Any) -> bool:
    """Whether the engine can drive the stream's descriptor: a socket of the system, with no TLS."""
    return _is_plain(stream, SocketStream, _SOCKET_METHODS) and _is_plain_socket(stream.sock)


def is_plain_pipe_stream(stream: object) -> bool:
    """Whether the engine can drive the stream's two descriptors."""
    return _is_plain(stream, PipeStream, _PIPE_METHODS)


def has_green_threads() -> bool:
    """Whether gevent has patched `threading`, so that greenlets pass for threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _is_plain(obj: object, cls: type, members: dict[str, Any]) -> bool:
    """Whether an object is exactly of a class whose members nobody replaced."""
    if type(obj) is not cls:
        return False
    # Read before the members are: what changes while they are looked at counts.
    version = _rpyc.type_version(cls)
    if version and _plain_versions.get(cls) == version:
        return True
    plain = all(getattr(cls, name) is member for name, member in members.items())
    if plain:
        _plain_versions[cls] = version
    return plain


def _is_plain_socket(sock: socket.socket) -> bool:
    """Whether a socket is the operating system's: no TLS, no gevent."""
    cls = type(sock)
    return cls.__module__ == "socket" and cls.__name__ == "socket"


def _plain_function(cls: type, name: str) -> object:
    found = getattr(cls, name)
    return getattr(found, "__func__", found)
