"""Small tools that the whole package stands on."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from rpyc.lib.deferred import lazily
from rpyc.lib.identity import get_id_pack, get_methods, hasattr_static
from rpyc.lib.network import exp_backoff, socket_backoff_connect
from rpyc.lib.threads import SPAWN_THREAD_PREFIX, spawn, spawn_waitready
from rpyc.lib.timeout import Timeout

if TYPE_CHECKING:
    import logging
else:
    # `import rpyc` makes it reachable; nothing here needs it.
    __getattr__, __dir__ = lazily(__name__, {"colls": "rpyc.lib.colls"})

__all__ = [
    "SPAWN_THREAD_PREFIX",
    "MissingModule",
    "Timeout",
    "exp_backoff",
    "get_id_pack",
    "get_methods",
    "hasattr_static",
    "hybridmethod",
    "maxint",
    "safe_import",
    "setup_logger",
    "socket_backoff_connect",
    "spawn",
    "spawn_waitready",
]

_T = TypeVar("_T")

maxint = sys.maxsize


class MissingModule:
    """Stands for a module that could not be imported: false, and each use says so."""

    __slots__ = ("__name",)

    def __init__(self, name: str) -> None:
        self.__name = name

    def __getattr__(self, name: str) -> NoReturn:
        # Python itself looks for special attributes and expects AttributeError.
        kind = AttributeError if name.startswith("__") else ImportError
        raise kind(f"module {self.__name!r} not found")

    def __bool__(self) -> bool:
        return False


def safe_import(name: str) -> ModuleType | MissingModule:
    """Import a module by its dotted name; return a :class:`MissingModule` if that fails."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return MissingModule(name)


def setup_logger(
    quiet: bool = False, logfile: str | None = None, namespace: str | None = None
) -> logging.Logger:
    """Configure the root logger and return the logger ``rpyc`` or ``rpyc.NAMESPACE``.

    ``quiet`` logs errors only, otherwise everything with logger and thread name. ``logfile`` is a
    path to append to; without it the log goes to stderr.
    """
    import logging

    options: dict[str, Any] = {}
    if quiet:
        options["level"] = logging.ERROR
        options["format"] = "%(asctime)s %(levelname)s: %(message)s"
    else:
        options["level"] = logging.DEBUG
        options["format"] = "%(asctime)s %(levelname)s %(name)s[%(threadName)s]: %(message)s"
    options["datefmt"] = "%b %d %H:%M:%S"
    if logfile:
        options["filename"] = logfile
    logging.basicConfig(**options)
    return logging.getLogger(f"rpyc.{namespace}" if namespace else "rpyc")


class hybridmethod(Generic[_T]):  # noqa: N801 - a decorator, named like classmethod
    """A method that gets the instance, or the class when it is called on the class.

    It can't be overwritten on an instance: that raises ``AttributeError``.
    """

    def __init__(self, func: Callable[..., _T]) -> None:
        self.func = func

    def __get__(self, obj: object | None, cls: type) -> Callable[..., _T]:
        return MethodType(self.func, cls if obj is None else obj)

    def __set__(self, obj: object, val: object) -> NoReturn:
        raise AttributeError("cannot overwrite method")
