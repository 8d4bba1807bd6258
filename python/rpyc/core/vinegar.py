"""Vinegar: exceptions in a form that can be sent.

An exception becomes the int 1 if its class is exactly ``StopIteration``, otherwise
``((module, name), args, attrs, traceback_text)``, all plain values. The receiver looks the class
up, and makes an object of a subclass of it that shows the remote traceback. (``protocol.md``,
section 11.)

# Theory of operation

Neither direction may fail because of what an exception contains: a failure here would leave a
request unanswered, or its answer unread. So what can't be read or sent is replaced by a text
(:func:`dump`), and what can't be applied is left out (:func:`load`). If a class was found that
refuses to make an object, a class that is generated from its name stands in for it.

All parts of what :func:`load` gets are the peer's word. It never calls anything by a name that the
peer chose, sets no special attribute, covers no method, and keeps a bounded number of generated
classes.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Iterator
from types import ModuleType, TracebackType
from typing import Any, TypeGuard, TypeVar

from rpyc import version
from rpyc.core import _attributes, brine, consts
from rpyc.core._connection.errors import ConnectionLost
from rpyc.lib import deferred
from rpyc.lib.identity import printable

_T = TypeVar("_T")

REMOTE_LINE_START = "\n\n========= Remote Traceback "
REMOTE_LINE_END = " =========\n"
REMOTE_LINE = f"{REMOTE_LINE_START}({{}}){REMOTE_LINE_END}"
"""Announces a remote traceback in the text of an exception; the slot counts the hops."""

_TRACEBACK_DENIED = "<traceback denied>"
_VERSION_DENIED = "<version denied>"
_GENERIC_MODULE = "rpyc.core.vinegar/"

_MAX_CACHED = 1000
"""Generated classes kept per cache. Their names come from peers."""

_MAX_NAME = 1000
"""Characters of a peer's module or class name that are used."""

_HEAP_TYPE = 1 << 9
"""The flag of classes made at run time (Py_TPFLAGS_HEAPTYPE)."""

exceptions_module: ModuleType = builtins
"""Where exceptions are looked up that need no permission."""


class GenericException(Exception):
    """The base of the classes that stand for remote exceptions without a class here."""


_generic_exceptions_cache: dict[str, type[BaseException]] = {}
"""Full name -> class. A program may put a class here: exceptions of that name arrive as it."""

_exception_classes_cache: dict[type[BaseException], type[BaseException]] = {}
"""Class -> the subclass that received objects of it have."""


def dump(
    typ: type[BaseException],
    val: BaseException,
    tb: TracebackType | None,
    include_local_traceback: bool,
    include_local_version: bool,
    include_local_reprs: bool = True,
) -> Any:
    """Return the plain form of an exception: 1, or a 4-tuple.

    Without ``include_local_reprs``, what can't be sent is named by its class only.
    Never fails because of the exception: what can't be read becomes a text that says so, and what
    can't be sent becomes its ``repr``.
    """
    if typ is StopIteration:
        return consts.EXC_STOP_ITERATION
    if include_local_traceback:
        text = _attempt(
            lambda: "".join(traceback.format_exception(typ, val, tb)), "<traceback unavailable>"
        )
    else:
        text = _TRACEBACK_DENIED
    if isinstance(val, ConnectionLost):
        # Peers know its base only; and which connection of ours was lost is no attribute for them.
        typ, val = EOFError, EOFError(*val.args)
    name = (_sendable(str(getattr(typ, "__module__", None))), _sendable(str(typ.__name__)))
    no_args: tuple[Any, ...] = ()
    shown = repr if include_local_reprs else _class_only
    args = tuple(_plain(arg, shown) for arg in _attempt(lambda: tuple(val.args), no_args))
    attrs = [(attr, _plain(value, shown)) for attr, value in _public_attributes(val)]
    current = version.__version__ if include_local_version else _VERSION_DENIED
    attrs.append(("_remote_version", current))
    return name, args, tuple(attrs), _sendable(text)


def load(
    val: Any,
    import_custom_exceptions: bool | Container[str] | Callable[[str], object],
    instantiate_custom_exceptions: bool,
    instantiate_oldstyle_exceptions: bool,
) -> Any:
    """Return what to raise for the plain form of an exception.

    That is an exception object, the class ``StopIteration``, or a text as it came.
    ``import_custom_exceptions`` allows to import the exception's module: any, or those whose name
    it contains or to whose name it says yes. ``instantiate_custom_exceptions`` allows classes outside ``builtins``. The last
    parameter has no meaning in Python 3.

    Raises ``TypeError`` or ``ValueError`` if the form is none of the three.
    """
    if val == consts.EXC_STOP_ITERATION:
        return StopIteration
    if isinstance(val, str):
        return val
    modname, clsname, args, attrs, tbtext = _checked(val)
    if modname not in sys.modules and (
        (instantiate_custom_exceptions and modname in deferred.HOMES)
        or _may_import(modname, import_custom_exceptions)
    ):
        _import(modname)
    cls = _find_class(modname, clsname, instantiate_custom_exceptions)
    exc = None if cls is None else _instantiate(cls, args, attrs)
    if exc is None:
        exc = _instantiate(_generic_class(modname, clsname), args, attrs)
        assert exc is not None, "a generated class has no constructor that can fail"
    _fill(exc, args, attrs)
    BaseException.__setattr__(exc, "_remote_tb", tbtext + _version_warning(attrs))
    return exc


def _get_exception_class(cls: type[BaseException]) -> type[BaseException]:
    """Return the subclass of ``cls`` whose text ends with the remote traceback."""
    cached = _exception_classes_cache.get(cls)
    if cached is not None:
        return cached

    class Derived(cls):  # type: ignore[valid-type, misc]
        def __str__(self) -> str:
            text: str
            try:
                text = super().__str__()
            except Exception:
                text = "<Unprintable exception>"
            remote = getattr(self, "_remote_tb", None)
            if not isinstance(remote, str):
                return text
            hops = remote.count(REMOTE_LINE_START) + 1
            return text + REMOTE_LINE.format(hops) + remote

        __repr__ = __str__

    Derived.__name__ = cls.__name__
    # A class can be without a module.
    module: Any = getattr(cls, "__module__", None)
    Derived.__module__ = module
    _remember(_exception_classes_cache, cls, Derived)
    return Derived


def _public_attributes(exc: BaseException) -> Iterator[tuple[str, Any]]:
    """The attributes that travel, except ``args``: pairs of name and value."""
    no_names: list[str] = []
    for name in _attempt(lambda: dir(exc), no_names):
        if type(name) is not str or name.startswith("_") or name in _attributes.NOT_SENT:
            continue
        try:
            yield _sendable(name), getattr(exc, name)
        except AttributeError:
            continue
        except Exception as error:
            yield _sendable(name), f"<unreadable: {type(error).__name__}>"


def _plain(value: Any, shown: Callable[[Any], str]) -> Any:
    """The value itself if it can be encoded, else what ``shown`` makes of it."""
    # Tried out: lone surrogates, huge ints and deep nesting look dumpable, and are not.
    with contextlib.suppress(Exception):
        if brine.dumpable(value):
            brine.dump(value)
            return value
    return _sendable(_attempt(lambda: shown(value), f"<unprintable {type(value).__name__} object>"))


def _class_only(value: Any) -> str:
    return f"<{type(value).__name__} object>"


def _sendable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 does not have."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _attempt(func: Callable[[], _T], otherwise: _T) -> _T:
    """The result of a function that runs code of an exception; ``otherwise`` if that fails."""
    try:
        return func()
    except Exception:
        return otherwise


def _checked(val: Any) -> tuple[str, str, tuple[Any, ...], tuple[tuple[str, Any], ...], str]:
    """The parts of a serialized exception: module, name, args, attrs, traceback text."""
    if type(val) is not tuple:
        raise TypeError(f"loading an exception: expected a 4-tuple, got {type(val).__name__}")
    if len(val) != 4:
        raise ValueError(f"loading an exception: expected a 4-tuple, got {len(val)} items")
    name, args, attrs, tbtext = val
    if type(name) is not tuple or tuple(map(type, name)) != (str, str):
        raise ValueError("loading an exception: its name is no pair of texts")
    if not isinstance(args, Iterable) or type(attrs) is not tuple:
        raise ValueError("loading an exception: its arguments or attributes are no tuples")
    if any(type(attr) is not tuple or len(attr) != 2 for attr in attrs):
        raise ValueError("loading an exception: its attributes are no pairs")
    if type(tbtext) is not str:
        raise ValueError("loading an exception: its traceback is no text")
    return name[0], name[1], tuple(args), attrs, tbtext


def _may_import(modname: str, allowed: bool | Container[str] | Callable[[str], object]) -> bool:
    if isinstance(allowed, str):
        return modname == allowed
    if isinstance(allowed, Container):
        return modname in allowed
    if callable(allowed):
        return bool(allowed(modname))
    return bool(allowed)


def _import(modname: str) -> None:
    # If it fails, the exception gets a generated class. A script that exits must not take us along.
    with contextlib.suppress(Exception, SystemExit):
        importlib.import_module(modname)


def _find_class(modname: str, clsname: str, custom: bool) -> type[BaseException] | None:
    """The class of that name that a peer may use here, if there is one."""
    chosen = _generic_exceptions_cache.get(f"{modname}.{clsname}")
    if chosen is not None and not _is_generated(chosen):
        return chosen if _is_exception_class(chosen) else None
    module: object = None
    if custom:
        module = sys.modules.get(modname)
    elif modname == exceptions_module.__name__:
        module = exceptions_module
    # Not getattr: a module may run code for names that it does not have, and this one is a peer's.
    names: dict[str, Any] = {}
    if isinstance(module, ModuleType):
        names = ModuleType.__getattribute__(module, "__dict__")
    cls = names.get(clsname)
    return cls if _is_exception_class(cls) else None


def _is_exception_class(cls: object) -> TypeGuard[type[BaseException]]:
    return isinstance(cls, type) and issubclass(cls, BaseException)


def _generic_class(modname: str, clsname: str) -> type[BaseException]:
    fullname = f"{modname}.{clsname}"
    cls = _generic_exceptions_cache.get(fullname)
    if cls is None or not _is_generated(cls):
        name = printable(fullname[:_MAX_NAME])
        module = _GENERIC_MODULE + printable(modname[:_MAX_NAME])
        cls = type(name, (GenericException,), {"__module__": module})
        if fullname not in _generic_exceptions_cache:
            _remember(_generic_exceptions_cache, fullname, cls)
    return cls


def _is_generated(cls: type) -> bool:
    return str(cls.__module__).startswith(_GENERIC_MODULE)


def _instantiate(
    cls: type[BaseException], args: tuple[Any, ...], attrs: tuple[tuple[str, Any], ...]
) -> BaseException | None:
    """An object of a received exception's class, not filled yet; ``None`` if the class refuses."""
    try:
        derived = _get_exception_class(cls)
    except Exception:
        return None
    if _is_group(cls):
        return _attempt(lambda: _instantiate_group(derived, args, attrs), None)
    exc = _attempt(lambda: derived.__new__(derived), None)
    if not isinstance(exc, derived):
        # Its own constructor demands arguments, so go to the builtin one below it.
        exc = _attempt(lambda: _builtin_base(derived).__new__(derived), None)
    return exc if isinstance(exc, derived) else None


def _builtin_base(cls: type[BaseException]) -> type[BaseException]:
    """The nearest class that is built into the interpreter."""
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


def _is_group(cls: type[BaseException]) -> bool:
    # Exception groups exist since Python 3.11.
    group: type | None = getattr(builtins, "BaseExceptionGroup", None)
    return group is not None and issubclass(cls, group)


def _instantiate_group(
    derived: type[BaseException], args: tuple[Any, ...], attrs: tuple[tuple[str, Any], ...]
) -> BaseException:
    """An exception group. Only a text is known of its members: one exception carries it."""
    message = _attributes.attribute(attrs, "message", args[0] if args else "")
    members = _attributes.attribute(attrs, "exceptions", args[1] if len(args) > 1 else "<unknown>")
    base = _builtin_base(derived)
    return base.__new__(derived, str(message), [GenericException(members)])


def _fill(exc: BaseException, args: tuple[Any, ...], attrs: tuple[tuple[str, Any], ...]) -> None:
    """Give the exception its arguments and attributes, as far as it takes them."""
    vars(BaseException)["args"].__set__(exc, args)
    # Not setattr, which the class may have made its own.
    for name, value in _attributes.harmless(type(exc), attrs):
        try:
            BaseException.__setattr__(exc, name, value)
        except Exception:  # noqa: S112 - an attribute that is read-only here, say
            continue


def _version_warning(attrs: tuple[tuple[str, Any], ...]) -> str:
    """A text for the case that the peer has another major version."""
    remote = _attributes.attribute(attrs, "_remote_version", _VERSION_DENIED)
    if remote == _VERSION_DENIED or str(remote).split(".")[0] == version.version[0]:
        return ""
    return f"\nWARNING: Remote is on RPyC {remote} and local is on RPyC {version.__version__}.\n\n"


def _remember(cache: dict[Any, type[BaseException]], key: Any, cls: type[BaseException]) -> None:
    """Put a generated class into a cache; if that is full, the oldest one leaves."""
    if len(cache) >= _MAX_CACHED:
        for old, candidate in list(cache.items()):
            if cache is _exception_classes_cache or _is_generated(candidate):
                cache.pop(old, None)
                break
    cache[key] = cls
