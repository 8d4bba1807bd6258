"""The Python path: the protocol in terms of methods that programs override.

The engine takes its native path while none of these is overridden or patched, and this one from the
moment that one is. Both mean the same. The bytes, the locks and the counting are the engine's in
either case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rpyc._rpyc import AsyncResult
from rpyc.core import brine, consts, netref, vinegar
from rpyc.core._connection.handlers import Handlers
from rpyc.core._connection.views import Callback, ProxyCache, RequestCallbacks, on_demand
from rpyc.core.netref import BaseNetref, IdPack
from rpyc.lib import get_id_pack

Boxed = tuple[int, Any]

_OLD_DIALECT = 5
"""The major version of RPyC up to which a message is one encoded triple."""


def _ignore(is_exc: bool, obj: Any) -> None:
    """The callback of a request whose answer concerns nobody."""


class PortablePath(Handlers):
    """Messages, boxing and requests, in Python."""

    _closed: bool
    _last_traceback: TracebackType | None
    _netref_classes_cache = on_demand("_netref_classes_cache", dict)

    @property
    def _proxy_cache(self) -> ProxyCache:
        return ProxyCache(self)

    @property
    def _request_callbacks(self) -> RequestCallbacks:
        return RequestCallbacks(self)

    # Messages out.

    def _send(self, msg: int, seq: int, args: Any) -> None:
        """Send a message whose body is plain."""
        if self._dialect == _OLD_DIALECT:
            self._send_payload(brine.dump((msg, seq, args)))
        else:
            self._send_payload(brine.I1.pack(msg) + brine.dump((seq, args)))

    def _async_request(
        self, handler: int, args: tuple[Any, ...] = (), callback: Callback = _ignore
    ) -> None:
        """Send a request; ``callback`` gets its answer."""
        seq = self._get_seq_id()
        self._request_callbacks[seq] = callback
        if isinstance(callback, AsyncResult):
            callback._sent(handler, seq)
        try:
            self._send_boxed(consts.MSG_REQUEST, seq, self._box(args), handler)
        except BaseException:
            self._request_callbacks.pop(seq, None)
            raise

    def _python_async_request(self, handler: int, args: tuple[Any, ...], timeout: Any) -> Any:
        from rpyc.core import protocol

        # The name is looked up for each request: programs replace it.
        result = protocol.AsyncResult(self)
        self._async_request(handler, args, result)
        if timeout is not None:
            result.set_expiry(timeout)
        return result

    def _sync_request(self, handler: int, args: tuple[Any, ...]) -> Any:
        return self.async_request(handler, *args, timeout=self._sync_limit()).value

    def _release_proxy(self, id_pack: IdPack, count: int) -> None:
        """Give references back to the peer. The proxy itself is gone by now."""
        target = (consts.LABEL_LOCAL_REF, id_pack)
        package = (consts.LABEL_TUPLE, (target, (consts.LABEL_VALUE, count)))
        seq = self._get_seq_id()
        self._request_callbacks[seq] = _ignore
        self._send(consts.MSG_REQUEST, seq, (consts.HANDLE_DEL, package))

    # Messages in.

    def _dispatch(self, data: bytes) -> None:
        """Handle one received payload."""
        try:
            msg, seq, args = self._read_message(data)
        except Exception as error:
            # Nothing that follows can be trusted.
            self._give_up(str(error))
            raise
        if msg == consts.MSG_REQUEST:
            self._dispatch_request(seq, args)
        elif msg in (consts.MSG_REPLY, consts.MSG_EXCEPTION) and not self._is_awaited(seq):
            self._drop_answer(msg, seq, args)
        elif msg == consts.MSG_REPLY:
            is_exc, obj = False, None
            try:
                obj = self._unbox(args)
            except Exception as error:
                # The one who waits gets the error, not the one who reads.
                is_exc, obj = True, error
            self._seq_request_callback(msg, seq, is_exc, obj)
        elif msg == consts.MSG_EXCEPTION:
            self._seq_request_callback(msg, seq, True, self._unbox_exc(args))

    def _read_message(self, data: bytes) -> tuple[int, Any, Any]:
        """Type, sequence number and body of a message; ValueError and its like if it is none."""
        if data[:1] == brine.TAG_TUP3:
            msg, seq, args = brine.load(data)
        else:
            msg = data[0]
            seq, args = brine.load(data[1:])
        if msg not in (consts.MSG_REQUEST, consts.MSG_REPLY, consts.MSG_EXCEPTION):
            raise ValueError(f"invalid message type: {msg}")
        return msg, seq, args

    def _dispatch_request(self, seq: int, raw_args: Any) -> None:
        """Perform a request of the peer and answer it."""
        try:
            handler, args = raw_args
            args = self._unbox(args)
            # From here on code of the user runs: another thread may read on.
            self._pass_on()
            self._check_nesting()
            # Kept until its answer is sent: a proxy that died before would be released before.
            result = self._HANDLERS[handler](self, *self._items(args))
            self._send_boxed(consts.MSG_REPLY, seq, self._box(result))
        except BaseException as error:
            if self._stays_local(error) or (self._closed and isinstance(error, EOFError)):
                raise
            dumped = self._serialize_exception(type(error), error, error.__traceback__)
            self._send(consts.MSG_EXCEPTION, seq, dumped)

    def _seq_request_callback(self, msg: int, seq: int, is_exc: bool, obj: Any) -> None:
        """Hand an answer to what waits for it."""
        callback = self._request_callbacks.pop(seq, None)
        if callback is not None:
            self._pass_on()
            callback(is_exc, obj)
        else:
            self._note_dropped(seq)

    def _is_awaited(self, seq: Any) -> bool:
        """Whether something waits for this answer, as far as this class can know."""
        if getattr(self._seq_request_callback, "__func__", None) is not _plain_callback:
            # A program has a table of its own.
            return True
        return self._pending_has(seq)

    def _drop_answer(self, msg: int, seq: Any, args: Any) -> None:
        """Let an answer go that nobody waits for; what it refers to is released unseen."""
        if msg == consts.MSG_REPLY:
            for id_pack in _remote_refs(args):
                with contextlib.suppress(Exception):
                    self._release_proxy(id_pack, 1)
        self._note_dropped(seq)

    def _note_dropped(self, seq: Any) -> None:
        if self._settings["logger"] is not None:
            debug = self._settings["logger"].debug
            debug(f"dropped an answer to request {seq}: nobody waits for it")

    # Boxing.

    def _box(self, obj: Any) -> Boxed:
        """Return the boxed form of an object: plain values only."""
        if brine.dumpable(obj):
            return consts.LABEL_VALUE, obj
        if type(obj) is tuple:
            return consts.LABEL_TUPLE, self._box_items(obj)
        if isinstance(obj, BaseNetref) and obj.____conn__ is self:
            return consts.LABEL_LOCAL_REF, obj.____id_pack__
        from rpyc.core import protocol

        if protocol.get_id_pack is get_id_pack:
            return consts.LABEL_REMOTE_REF, self._export(obj)
        id_pack = protocol.get_id_pack(obj)
        self._local_objects.add(id_pack, obj)
        return consts.LABEL_REMOTE_REF, id_pack

    def _box_items(self, items: tuple[Any, ...]) -> tuple[Boxed, ...]:
        boxed: list[Boxed] = []
        try:
            for item in items:
                boxed.append(self._box(item))
        except BaseException:
            self._take_back((consts.LABEL_TUPLE, tuple(boxed)))
            raise
        return tuple(boxed)

    def _take_back(self, boxed: Boxed) -> None:
        """A message won't be sent: the peer will never release what it refers to."""
        for id_pack in _remote_refs(boxed):
            with contextlib.suppress(KeyError):
                self._local_objects.decref(id_pack)

    def _send_boxed(self, msg: int, seq: int, boxed: Boxed, *before: int) -> None:
        """Send a message with a boxed value; ``before`` precedes it in the body."""
        try:
            self._send(msg, seq, (*before, boxed) if before else boxed)
        except BaseException:
            self._take_back(boxed)
            raise

    def _unbox(self, package: Boxed) -> Any:
        """Return the object that a boxed form stands for."""
        label, value = package
        if label == consts.LABEL_VALUE:
            return value
        if label == consts.LABEL_TUPLE:
            return tuple(self._unbox(item) for item in value)
        if label == consts.LABEL_LOCAL_REF:
            return self._local_objects.named(value)
        if label == consts.LABEL_REMOTE_REF:
            id_pack = (str(value[0]), value[1], value[2])
            proxy = self._proxy_cache.get(id_pack)
            if proxy is not None:
                proxy.____refcount__ += 1
                return proxy
            proxy = self._netref_factory(id_pack)
            self._proxy_cache[id_pack] = proxy
            return proxy
        raise ValueError(f"invalid label {label!r}")

    def _netref_factory(self, id_pack: IdPack) -> BaseNetref:
        """Make a proxy of an object of the peer."""
        cls = None
        if id_pack[2] == 0:
            cls = self._netref_classes_cache.get(id_pack)
        if cls is None:
            cls = netref.builtin_classes_cache.get(id_pack[0])
        if cls is None:
            methods = netref._methods_told(self.sync_request(consts.HANDLE_INSPECT, id_pack))
            cls = netref.class_factory(id_pack, methods)
            if id_pack[2] == 0:
                self._netref_classes_cache[id_pack] = cls
        return cls(self, id_pack)

    # Exceptions. The native path uses these, too.

    def _serialize_exception(
        self, typ: type[BaseException], val: BaseException, tb: TracebackType | None
    ) -> Any:
        """Note an exception that a request raised, and return its plain form."""
        self._last_traceback = tb
        logger = self._settings["logger"]
        if logger is not None and typ is not StopIteration:
            with contextlib.suppress(Exception):
                logger.debug("Exception caught", exc_info=(typ, val, tb))
        return self._box_exc(typ, val, tb)

    def _box_exc(
        self, typ: type[BaseException], val: BaseException, tb: TracebackType | None
    ) -> Any:
        return vinegar.dump(
            typ,
            val,
            tb,
            include_local_traceback=self._settings["include_local_traceback"],
            include_local_version=self._settings["include_local_version"],
            include_local_reprs=not self._gates(),
        )

    def _unbox_exc(self, raw: Any) -> Any:
        return vinegar.load(
            raw,
            import_custom_exceptions=self._settings["import_custom_exceptions"],
            instantiate_custom_exceptions=self._settings["instantiate_custom_exceptions"],
            instantiate_oldstyle_exceptions=self._settings["instantiate_oldstyle_exceptions"],
        )


_plain_callback = PortablePath._seq_request_callback


def _remote_refs(package: Any) -> Iterator[Any]:
    """The id packs of the peer's objects in a boxed value, whatever its shape."""
    if type(package) is not tuple or len(package) != 2:
        return
    label, value = package
    if label == consts.LABEL_REMOTE_REF:
        if type(value) is tuple and tuple(map(type, value)) == (str, int, int):
            yield value
    elif label == consts.LABEL_TUPLE and type(value) is tuple:
        for item in value:
            yield from _remote_refs(item)
