"""What a peer can ask for: one method per handler.

The native path performs the common ones itself and calls these for the rest; the Python path calls
these for all. Subclasses override them. (``protocol.md``, section 14.)
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import pickle
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from rpyc import _rpyc
from rpyc.core import brine, consts, netref
from rpyc.core._connection import buffers
from rpyc.core._connection.views import LocalObjects
from rpyc.core.netref import BaseNetref, IdPack
from rpyc.lib import get_id_pack, get_methods, maxint

Handler = Callable[..., Any]

_MOST_SKIPPED = 1 << 20
"""Items that one request may skip: an iterator may have no end."""

_MOST_CALLS = 2000
"""Calls in a message. A small one must not make an answer without end, which leaves in one piece."""

_COMPARISONS = frozenset({"__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__", "__cmp__"})


class Handlers(_rpyc.Engine):
    """The handlers of a connection."""

    _HANDLERS: dict[int, Handler]

    @property
    def _local_objects(self) -> LocalObjects:
        return LocalObjects(self)

    def _stays_local(self, error: BaseException) -> bool:
        """Whether an exception is for this process, not for the peer."""
        if type(error) is SystemExit:
            return bool(self._settings["propagate_SystemExit_locally"])
        if type(error) is KeyboardInterrupt:
            return bool(self._settings["propagate_KeyboardInterrupt_locally"])
        return False

    def _serialize_exception(
        self, typ: type[BaseException], val: BaseException, tb: TracebackType | None
    ) -> Any:
        raise NotImplementedError

    def _cleanup(self, _anyway: bool = True) -> None:
        raise NotImplementedError

    @classmethod
    def _request_handlers(cls) -> dict[int, Handler]:
        """The handlers by number; each is called with the connection first."""
        return {
            consts.HANDLE_PING: cls._handle_ping,
            consts.HANDLE_CLOSE: cls._handle_close,
            consts.HANDLE_GETROOT: cls._handle_getroot,
            consts.HANDLE_GETATTR: cls._handle_getattr,
            consts.HANDLE_DELATTR: cls._handle_delattr,
            consts.HANDLE_SETATTR: cls._handle_setattr,
            consts.HANDLE_CALL: cls._handle_call,
            consts.HANDLE_CALLATTR: cls._handle_callattr,
            consts.HANDLE_REPR: cls._handle_repr,
            consts.HANDLE_STR: cls._handle_str,
            consts.HANDLE_CMP: cls._handle_cmp,
            consts.HANDLE_HASH: cls._handle_hash,
            consts.HANDLE_DIR: cls._handle_dir,
            consts.HANDLE_PICKLE: cls._handle_pickle,
            consts.HANDLE_DEL: cls._handle_del,
            consts.HANDLE_INSPECT: cls._handle_inspect,
            consts.HANDLE_BUFFITER: cls._handle_buffiter,
            consts.HANDLE_OLDSLICING: cls._handle_oldslicing,
            consts.HANDLE_CTXEXIT: cls._handle_ctxexit,
            consts.HANDLE_INSTANCECHECK: cls._handle_instancecheck,
            consts.HANDLE_FEATURES: cls._handle_features,
            consts.HANDLE_PICKLE_BUFFERS: cls._handle_pickle_buffers,
            consts.HANDLE_HEARTBEAT: cls._handle_heartbeat,
            consts.HANDLE_CANCEL: cls._handle_cancel,
            consts.HANDLE_READ_AHEAD: cls._handle_read_ahead,
            consts.HANDLE_BATCH: cls._handle_batch,
        }

    def _access_attr(
        self,
        obj: Any,
        name: str | bytes,
        args: tuple[Any, ...],
        overrider: str,
        param: str,
        default: Callable[..., Any],
    ) -> Any:
        """Apply ``default`` (getattr, say) to an attribute that the peer may reach.

        The object's type may have a rule of its own, named ``overrider``; otherwise the switch
        ``param`` and the rest of the configuration decide. AttributeError if access is denied.
        """
        if type(name) is bytes:
            name = name.decode("utf-8")
        elif type(name) is not str:
            raise TypeError("name must be a string")
        accessor = getattr(type(obj), overrider, None)
        if accessor is not None:
            return accessor(obj, name, *args)
        if default is getattr and self._checks_itself():
            # The check may read the attribute, and once is enough.
            return self._read_attr(obj, name, param)
        return default(obj, self._check_attr(obj, name, param), *args)

    def _checks_itself(self) -> bool:
        """Whether no program has a check of its own in the place of the engine's."""
        own = "_check_attr" in self.__dict__
        return not own and type(self)._check_attr is _rpyc.Engine._check_attr

    def _gates(self) -> bool:
        """Whether what an object tells of itself is subject to the attribute rules."""
        return bool(self._settings.get("gate_introspection"))

    def _told(self, obj: Any, name: str, ask: Callable[[Any], Any]) -> Any:
        """What an object tells of itself, if the peer may reach the method ``name`` that tells it.

        Whatever the rules find under that name is what answers: an object's own rule, or a method
        with the prefix, may give the peer something else than this process sees.
        """
        method = self._handle_getattr(obj, name)
        # A class's attribute is the method of its instances.
        return ask(obj) if isinstance(obj, type) else method()

    def _is_reachable(self, obj: Any, name: str) -> bool:
        """Whether the peer may read the attribute ``name`` of an object."""
        accessor = getattr(type(obj), "_rpyc_getattr", None)
        try:
            if accessor is None:
                self._check_attr(obj, name, "allow_getattr")
            else:
                accessor(obj, name)
        # The object's own rule refuses in its own way.
        except Exception:
            return False
        return True

    def _items(self, iterable: Iterable[Any]) -> tuple[Any, ...]:
        """The items of what a peer names as arguments or asks for as a whole: it may have no end."""
        if type(iterable) is tuple:
            return iterable
        limit = self._settings["max_buffered_items"]
        items = tuple(itertools.islice(iterable, None if limit is None else limit + 1))
        if limit is not None and len(items) > limit:
            raise ValueError(
                f"more than {limit} items were asked for at once: ask for a number of them "
                "(config key max_buffered_items of their owner)"
            )
        return items

    def _keywords(self, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """The keywords of a call, from pairs of name and value."""
        keywords = {}
        for name, value in self._items(pairs):
            # Before they are put into a dict: only the hashes of texts can't be chosen by a peer.
            if type(name) is not str:
                raise TypeError("keywords must be strings")
            keywords[name] = value
        return keywords

    def _handle_ping(self, data: Any) -> Any:
        return data

    def _handle_close(self) -> None:
        self._cleanup()

    def _handle_getroot(self) -> Any:
        return self._local_root

    def _handle_getattr(self, obj: Any, name: str | bytes) -> Any:
        return self._access_attr(obj, name, (), "_rpyc_getattr", "allow_getattr", getattr)

    def _handle_delattr(self, obj: Any, name: str | bytes) -> None:
        self._access_attr(obj, name, (), "_rpyc_delattr", "allow_delattr", delattr)

    def _handle_setattr(self, obj: Any, name: str | bytes, value: Any) -> None:
        self._access_attr(obj, name, (value,), "_rpyc_setattr", "allow_setattr", setattr)

    def _handle_call(
        self, obj: Any, args: Iterable[Any], kwargs: Iterable[tuple[str, Any]] = ()
    ) -> Any:
        # Called from here and not natively, `locals` and its like see this frame: `self` is the
        # connection, as programs expect.
        return obj(*self._items(args), **self._keywords(kwargs))

    def _handle_callattr(
        self,
        obj: Any,
        name: str | bytes,
        args: Iterable[Any],
        kwargs: Iterable[tuple[str, Any]] = (),
    ) -> Any:
        return self._handle_call(self._handle_getattr(obj, name), args, kwargs)

    def _handle_repr(self, obj: Any) -> str:
        return repr(obj) if not self._gates() else str(self._told(obj, "__repr__", repr))

    def _handle_str(self, obj: Any) -> str:
        return str(obj) if not self._gates() else str(self._told(obj, "__str__", str))

    def _handle_cmp(self, obj: Any, other: Any, op: str = "__cmp__") -> Any:
        if op not in _COMPARISONS:
            # RPyC applies any method that the type has; that is a way around the object's own rule.
            raise AttributeError(f"cannot access {op!r}: it is not a comparison")
        cls = type(obj)
        compare = self._access_attr(cls, op, (), "_rpyc_getattr", "allow_getattr", getattr)
        return compare(obj, other)

    def _handle_hash(self, obj: Any) -> int:
        return hash(obj) if not self._gates() else int(self._told(obj, "__hash__", hash))

    def _handle_dir(self, obj: Any) -> tuple[str, ...]:
        if not self._gates():
            return tuple(dir(obj))
        names = self._told(obj, "__dir__", dir)
        return tuple(sorted(name for name in names if self._is_reachable(obj, name)))

    def _handle_pickle(self, obj: Any, proto: int) -> bytes:
        if not self._settings["allow_pickle"]:
            raise ValueError("pickling is disabled")
        return bytes(pickle.dumps(obj, proto))

    def _handle_del(self, obj: Any, count: int = 1) -> None:
        self._local_objects.decref(get_id_pack(obj), count)

    def _handle_inspect(self, id_pack: IdPack) -> Any:
        obj = self._local_objects.named(id_pack)
        if isinstance(obj, BaseNetref):
            # An object of a third peer: its owner knows.
            return obj.____conn__.sync_request(consts.HANDLE_INSPECT, obj.____id_pack__)
        return self._methods_told_of(obj)

    def _methods_told_of(self, obj: Any) -> tuple[tuple[str, str | None], ...]:
        """What a peer is told about the methods of an object."""
        methods = get_methods(netref.LOCAL_ATTRS, obj)
        if self._gates():
            return tuple(item for item in methods if self._is_reachable(obj, item[0]))
        return tuple(methods)

    def _handle_buffiter(self, obj: Any, count: int | None) -> tuple[Any, ...]:
        if self._gates() and not self._is_reachable(obj, "__iter__"):
            raise AttributeError(f"cannot iterate over a remote {type(obj).__name__} object")
        if count is None:
            return self._items(iter(obj))
        limit = self._settings["max_buffered_items"]
        most = _amount(count)
        return tuple(itertools.islice(obj, most if limit is None else min(most, limit)))

    def _handle_oldslicing(
        self,
        obj: Any,
        attempt: str,
        fallback: str,
        start: Any,
        stop: Any,
        args: Iterable[Any],
    ) -> Any:
        args = self._items(args)
        try:
            return self._handle_getattr(obj, attempt)(slice(start, stop), *args)
        except Exception:
            stop = maxint if stop is None else stop
            return self._handle_getattr(obj, fallback)(start, stop, *args)

    def _handle_ctxexit(self, obj: Any, exc: Any) -> Any:
        leave = self._handle_getattr(obj, "__exit__")
        if not exc:
            return leave(None, None, None)
        try:
            raise _raisable(exc)
        except BaseException:
            return leave(*sys.exc_info())

    def _handle_instancecheck(self, obj: Any, other_id_pack: IdPack) -> bool:
        if isinstance(obj, BaseNetref):
            # A class of a third peer: its owner decides.
            answer = netref.syncreq(obj, consts.HANDLE_INSTANCECHECK, other_id_pack)
            return bool(answer)
        known = netref._normalized_builtin_types.get(str(other_id_pack[0]))
        if known is None:
            return False
        # Instance id 0: the other one is the class itself.
        return issubclass(type(known) if other_id_pack[2] == 0 else known, obj)

    # Extensions (``protocol.md``, section 19).

    def _handle_features(self) -> tuple[str, ...]:
        return self._features

    def _handle_cancel(self, seq: int) -> None:
        self._note_cancelled(seq)

    def _handle_heartbeat(self, seconds: float) -> None:
        raise NotImplementedError

    def _handle_pickle_buffers(self, obj: Any) -> buffers.Parts:
        if not self._settings["allow_pickle"]:
            raise ValueError("pickling is disabled")
        return buffers.dump(obj)

    def _handle_read_ahead(self, obj: Any, skip: int, count: int) -> tuple[bool, tuple[Any, ...]]:
        # The engine looks ahead in builtin iterators itself. All others give one item as ever,
        # through the handler that programs override.
        call = self._HANDLERS[consts.HANDLE_CALLATTR]
        with contextlib.suppress(StopIteration):
            for _ in range(min(_amount(skip), _MOST_SKIPPED)):
                call(self, obj, "__next__", ())
        return False, (call(self, obj, "__next__", ()),) if count else ()

    def _handle_batch(self, *calls: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        # The engine does the same natively, unless a program overrides the handlers of calls.
        if len(calls) > _MOST_CALLS:
            raise ValueError(f"a batch has at most {_MOST_CALLS} calls, not {len(calls)}")
        results: list[Any] = []
        failures: list[int] = []
        for position, (target, args, kwargs, *name) in enumerate(calls):
            handler = consts.HANDLE_CALLATTR if name else consts.HANDLE_CALL
            try:
                result = self._HANDLERS[handler](self, target, *name, args, kwargs)
                if brine.dumpable(result):
                    brine.dump(result)
            except BaseException as error:
                if self._stays_local(error):
                    raise
                failures.append(position)
                result = self._serialize_exception(type(error), error, error.__traceback__)
            results.append(result)
        return tuple(results), tuple(failures)


def _amount(number: Any) -> int:
    """A number of items that a peer asked for. Proxies can look like ints, and turn into any number."""
    if not issubclass(type(number), int) or number < 0:
        raise ValueError(f"a number of items is an int of at least 0, not {type(number).__name__}")
    return int(number)


def _raisable(exc: Any) -> Any:
    """What to raise for an exception that is raised at the peer.

    RPyC sends its class, which arrives as a proxy and can't be raised. A builtin one has a twin
    here; any other gives the TypeError that RPyC's peers see.
    """
    if isinstance(exc, BaseNetref) and exc.____id_pack__[2] == 0:
        module, _, name = exc.____id_pack__[0].rpartition(".")
        twin = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(twin, type) and issubclass(twin, BaseException):
            return twin
    return exc
