"""The default configuration of connections."""

from __future__ import annotations

import os
import weakref
from typing import Any

from rpyc import _rpyc

_SAFE_ATTRS = ["__abs__", "__add__", "__and__", "__bool__", "__cmp__", "__contains__", "__delitem__", "__delslice__", "__div__", "__divmod__", "__doc__", "__enter__", "__eq__", "__exit__", "__float__", "__floordiv__", "__format__", "__ge__", "__getitem__", "__getslice__", "__gt__", "__hash__", "__hex__", "__iadd__", "__iand__", "__idiv__", "__ifloordiv__", "__ilshift__", "__imod__", "__imul__", "__index__", "__int__", "__invert__", "__ior__", "__ipow__", "__irshift__", "__isub__", "__iter__", "__itruediv__", "__ixor__", "__le__", "__len__", "__length_hint__", "__long__", "__lshift__", "__lt__", "__mod__", "__mul__", "__ne__", "__neg__", "__new__", "__next__", "__nonzero__", "__oct__", "__or__", "__pos__", "__pow__", "__radd__", "__rand__", "__rdiv__", "__rdivmod__", "__repr__", "__rfloordiv__", "__rlshift__", "__rmod__", "__rmul__", "__ror__", "__rpow__", "__rrshift__", "__rshift__", "__rsub__", "__rtruediv__", "__rxor__", "__setitem__", "__setslice__", "__str__", "__sub__", "__truediv__", "__xor__", "next"]

DEFAULT_CONFIG: dict[str, Any] = {
    # Which attributes of objects the peer may touch.
    "allow_safe_attrs": True,  # the names in safe_attrs
    "allow_exposed_attrs": True,  # names with exposed_prefix, spelled or not
    "allow_public_attrs": False,  # names without a leading underscore
    "allow_all_attrs": False,
    "safe_attrs": set(_SAFE_ATTRS),
    "exposed_prefix": "exposed_",
    "allow_getattr": True,
    "allow_setattr": False,
    "allow_delattr": False,
    # At the owner: may objects be pickled for the peer. At the holder: may the peer's pickles be
    # loaded, which runs code that the peer chose.
    "allow_pickle": False,
    # Exceptions.
    "include_local_traceback": True,
    "include_local_version": True,
    "instantiate_custom_exceptions": False,
    "import_custom_exceptions": False,  # or a container of module names, or a predicate
    "instantiate_oldstyle_exceptions": False,
    "propagate_SystemExit_locally": False,
    "propagate_KeyboardInterrupt_locally": True,
    "log_exceptions": True,  # RPyC has the key and never reads it
    "logger": None,
    # The protocol's version: 5 for peers with RPyC 4.1 to 5.3, 6 for 6.0. None: 6, unless the peer
    # speaks first and speaks 5.
    "protocol_version": None,
    # Limits on what the peer can make this side do. None: the engine's own, which are generous.
    "max_frame_size": None,  # bytes of a frame's body; 4 GiB
    "max_inflated_size": None,  # bytes of a payload after decompression; 512 MiB
    "max_backlog": None,  # bytes of requests held while a write is blocked; 256 MiB
    "max_pending_requests": None,  # requests of ours without an answer; 1,000,000
    "max_exported_objects": None,  # objects that the peer holds references to; 10,000,000
    "max_nested_requests": None,  # the peer's requests that one thread performs in one another; 500
    "max_buffered_items": 1_000_000,  # items of an iterable in one answer; None: no limit
    # What an object tells of itself (repr, str, hash, names, methods) is told by the rules for
    # attributes, like everything else of it.
    "gate_introspection": False,
    # Ids on the wire are random numbers, and tell no addresses.
    "unguessable_ids": False,
    # Facts about the connection.
    "connid": None,
    "credentials": None,
    "endpoints": None,
    # Times, in seconds.
    "sync_request_timeout": 30,  # None: no limit
    "endpoints_timeout": 3,  # how long a server lets a new connection take to authenticate
    # How long a wait for a message polls at most, where that is faster, before it sleeps. 0: never.
    "busy_poll": 0.0005,
    # Noticing a peer that is gone, in seconds. None: not at all.
    "tcp_keepalive": 60,  # idle time after which the peer's system is probed
    "send_timeout": 300,  # how long the peer may take no byte, or leave bytes unacknowledged
    "heartbeat": None,  # how long it may give no sign of life; None: for ever
    # Items of a remote container's iterator that were read ahead are used within so many seconds. 0:
    # nothing is read ahead.
    "read_ahead": 0.01,
    # An attribute of a proxy that was seen to be a method is called by its name, in one request.
    "fold_method_calls": True,
    # Closing.
    "close_timeout": 30,  # seconds that close() waits for the peer, at most
    "before_closed": None,
    "close_catchall": False,
    # Replies and nested requests go to the thread concerned.
    "bind_threads": os.environ.get("RPYC_BIND_THREADS") == "true",
}
"""The configuration that each connection copies. It may be changed; that concerns connections made
later. Unknown keys are kept."""

_STRICT_SAFE_ATTRS = ["__bool__", "__contains__", "__enter__", "__eq__", "__exit__", "__ge__", "__getitem__", "__gt__", "__iter__", "__le__", "__len__", "__length_hint__", "__lt__", "__ne__", "__next__", "next"]

STRICT: dict[str, Any] = {
    # Exposed names and the reading of containers, nothing else.
    "allow_safe_attrs": True,
    "safe_attrs": frozenset(_STRICT_SAFE_ATTRS),
    "allow_exposed_attrs": True,
    "allow_public_attrs": False,
    "allow_all_attrs": False,
    "allow_getattr": True,
    "allow_setattr": False,
    "allow_delattr": False,
    "gate_introspection": True,
    "unguessable_ids": True,
    # Nothing of the peer's is run or imported, and nothing of this side's code is shown.
    "allow_pickle": False,
    "import_custom_exceptions": False,
    "instantiate_custom_exceptions": False,
    "instantiate_oldstyle_exceptions": False,
    "include_local_traceback": False,
    "include_local_version": False,
    # Tighter limits: enough for calls, not for bulk data.
    "max_frame_size": 1 << 24,
    "max_inflated_size": 1 << 26,
    "max_backlog": 1 << 24,
    "max_pending_requests": 10_000,
    "max_exported_objects": 100_000,
    "max_nested_requests": 50,
    "max_buffered_items": 10_000,
}
"""A configuration for peers that are not trusted. Overlay it: ``config={**rpyc.STRICT, ...}``.

What fails with it, also for RPyC's own peers: ``repr``, ``str``, ``hash`` and ``dir`` of a proxy,
unless its object exposes ``__repr__`` and so on."""

FACTS = ("connid", "credentials", "endpoints")
"""The keys that differ from one connection of a server to the next."""


class Settings(dict[str, Any]):
    """Settings that several connections have in common. Nobody changes them."""

    __slots__ = ("__weakref__",)


def shared(config: dict[str, Any]) -> Settings:
    """Return settings with the same content as ``config``: those of earlier connections if possible.

    A server may have thousands of connections, and a configuration is the largest thing that each
    would have of its own. A connection gets one when somebody asks for it.
    """
    for ref in tuple(_known):
        known = ref()
        # The very same objects: equal ones may still differ, or change.
        if known is not None and _rpyc.same_items(known, config):
            return known
    made = Settings(config)
    _known[:] = [weakref.ref(made), *(ref for ref in _known if ref() is not None)][:_MOST_KNOWN]
    return made


_MOST_KNOWN = 8
_known: list[weakref.ref[Settings]] = []
