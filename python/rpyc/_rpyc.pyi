"""The native engine. Programs use it through `rpyc.core`; names with an underscore are internal."""

from collections.abc import Callable
from typing import Any, TypeAlias

from typing_extensions import disjoint_base

__all__ = [
    "AsyncResult",
    "BaseNetref",
    "BrineError",
    "Engine",
    "brine_dump",
    "brine_dumpable",
    "brine_load",
    "extension_changed",
    "install_call",
    "note_fork",
    "quiesce",
    "set_metaclass",
    "syncreq",
    "use_greenlets",
]

_IdPack: TypeAlias = tuple[str, int, int]

class BrineError(ValueError):
    """The bytes are not a brine value. The text says what is wrong, and at which offset."""

def brine_dump(obj: object) -> bytes:
    """Encode an immutable value. TypeError if it is none."""

def brine_load(data: bytes | bytearray | memoryview) -> Any:
    """Decode a value from a bytes-like object. BrineError if it is malformed."""

def brine_dumpable(obj: object) -> bool:
    """Whether a value is immutable all the way down, so that it can be encoded."""

def extension_changed() -> None:
    """Tell the engine that a name that programs may replace was assigned."""

def note_fork() -> None:
    """To be called in the child of a fork: its copies of connections belong to the parent."""

def quiesce(timeout: float) -> None:
    """To be called when the interpreter is about to end: no thread performs requests any more.

    Waits up to `timeout` seconds for those that do.
    """

def use_greenlets() -> None:
    """Make waits cooperative, from now on. `threading` must be patched already."""

def set_metaclass(metaclass: type[type]) -> None:
    """Make `metaclass` the class of `BaseNetref`, and so of all proxy classes."""

def install_call(cls: type[BaseNetref]) -> None:
    """Make instances of a proxy class callable natively."""

def syncreq(proxy: Any, handler: int, *args: Any) -> Any:
    """Send a synchronous request on a proxy: `handler` with the proxy and `args`."""

@disjoint_base
class BaseNetref:
    """A proxy of a remote object. Programs use it as if it were the object."""

    def __new__(cls, conn: Any, id_pack: _IdPack) -> BaseNetref: ...
    @property
    def ____conn__(self) -> Any: ...
    @property
    def ____id_pack__(self) -> _IdPack: ...
    ____refcount__: int
    def __getattribute__(self, name: str, /) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __exit__(self, exc: Any, typ: Any, tb: Any) -> Any: ...

@disjoint_base
class AsyncResult:
    """The container of an answer that may not be there yet.

    It is also the request's callback: called with (is exception, object).
    """

    _is_ready: bool
    _is_exc: bool | None
    _obj: Any
    _ttl: Any
    def __new__(cls, conn: Any) -> AsyncResult: ...
    def __call__(self, is_exc: bool, obj: Any) -> None: ...
    def wait(self, timeout: float | None = None) -> None:
        """Wait for the answer, up to `timeout` seconds and no longer than the expiry.

        Serves the connection meanwhile. AsyncResultTimeout if the answer did not come in time,
        EOFError if the connection ended.
        """
    def add_callback(self, func: Callable[[AsyncResult], object]) -> None:
        """Call `func` with this result once the answer is there; at once if it is there already."""
    def set_expiry(self, timeout: Any) -> None:
        """Let the result expire `timeout` seconds from now; None or a negative number: never."""
    @property
    def ready(self) -> bool: ...
    @property
    def error(self) -> bool: ...
    @property
    def expired(self) -> bool: ...
    @property
    def value(self) -> Any: ...
    @property
    def _conn(self) -> Any: ...
    @property
    def _callbacks(self) -> list[Callable[[AsyncResult], object]]: ...

@disjoint_base
class Engine:
    """The native part of a connection."""

    _config: dict[str, Any]
    _local_root: Any
    def __new__(cls, *_args: Any, **_kwargs: Any) -> Engine: ...
    def sync_request(self, handler: int, *args: Any) -> Any:
        """Send a synchronous request and return its result."""
    def async_request(self, handler: int, *args: Any, timeout: Any = None) -> AsyncResult:
        """Send an asynchronous request; its `AsyncResult` expires after `timeout` seconds."""
    @property
    def _end_reason(self) -> str | None: ...
    @property
    def _peer_misbehaved(self) -> bool: ...
    def _set_limits(
        self,
        frame: int | None,
        inflated: int | None,
        backlog: int | None,
        pending: int | None,
        exports: int | None,
    ) -> None: ...
    @property
    def _is_inherited(self) -> bool: ...
    @property
    def _is_being_read(self) -> bool: ...
    @property
    def _native(self) -> bool: ...
    @property
    def _dialect(self) -> int: ...
    def _speak(self, version: int) -> None: ...
    def _bind_to_threads(self) -> None: ...
    def _work_bound(self) -> None: ...
    def _open_socket(self, fd: int, compress_above: int | None = None) -> None: ...
    def _open_pipe(self, incoming: int, outgoing: int) -> None: ...
    def _open_channel(self, channel: Any) -> None: ...
    def _finish(self, reason: str | None = None) -> None: ...
    def _pass_on(self) -> None: ...
    def _has_buffered_input(self) -> bool: ...
    def _serve(self, timeout: Any, wait_for_lock: bool) -> bool: ...
    def _serve_forever(self) -> None: ...
    def _send_payload(self, payload: bytes) -> None: ...
    def _check_attr(self, obj: Any, name: Any, perm: str) -> str: ...
    def _export(self, obj: Any) -> _IdPack: ...
    def _table_get(self, id_pack: Any) -> tuple[Any, int] | None: ...
    def _table_add(self, id_pack: Any, obj: Any) -> None: ...
    def _table_release(self, id_pack: Any, count: int) -> None: ...
    def _table_items(self) -> list[tuple[_IdPack, Any, int]]: ...
    def _proxy_get(self, id_pack: Any) -> BaseNetref | None: ...
    def _proxy_put(self, id_pack: Any, proxy: BaseNetref) -> None: ...
    def _proxy_forget(self, id_pack: Any) -> bool: ...
    def _proxy_items(self) -> list[tuple[_IdPack, BaseNetref]]: ...
    def _get_seq_id(self) -> int: ...
    def _pending_put(self, seq: int, callback: Callable[[bool, Any], object]) -> None: ...
    def _pending_take(self, seq: int) -> Callable[[bool, Any], object] | None: ...
    def _pending_seqs(self) -> list[int]: ...
    def _clear_tables(self) -> None: ...
