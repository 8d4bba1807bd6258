"""Services: what a peer finds as the root of its connection.

A service is a class (then each connection gets an instance of its own) or an instance (then all
connections share it). Classic mode is made of two of them: the slave lets its peer do everything,
and the master is comfortable on top of that.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rpyc.core.protocol import Connection
from rpyc.lib import hybridmethod
from rpyc.lib.compat import execute
from rpyc.lib.exposing import publish

if TYPE_CHECKING:
    from rpyc.core.channel import Channel


class Service:
    """The base of all services.

    Peers reach the attributes whose name starts with ``exposed_``, with or without this prefix, and
    those marked with :func:`rpyc.exposed`. They can't set or delete attributes of a service.
    """

    __slots__ = ()

    ALIASES: ClassVar[Iterable[str]] = ()
    """The service's names in a registry. The first one is its name; by default the class's."""

    _protocol: ClassVar[Callable[..., Connection]] = Connection
    """Makes the connection: called with service, channel and config."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        publish(cls)

    def on_connect(self, conn: Connection) -> None:
        """Called when a connection is set up; ``conn.root`` works already."""

    def on_disconnect(self, conn: Connection) -> None:
        """Called once when a connection has ended; nothing can be sent any more."""

    def _rpyc_delattr(self, name: str) -> None:
        raise AttributeError("access denied")

    def _rpyc_setattr(self, name: str, value: object) -> None:
        raise AttributeError("access denied")

    @classmethod
    def get_service_aliases(cls) -> tuple[str, ...]:
        """Return the names of the service, in upper case, without a final ``SERVICE``."""
        if cls.ALIASES:
            return tuple(str(alias).upper() for alias in cls.ALIASES)
        return (cls.__name__.upper().removesuffix("SERVICE"),)

    @classmethod
    def get_service_name(cls) -> str:
        """Return the first of the service's names."""
        return cls.get_service_aliases()[0]

    exposed_get_service_aliases = get_service_aliases
    exposed_get_service_name = get_service_name

    @hybridmethod
    def _connect(self: Any, channel: Channel, config: dict[str, Any] = {}) -> Connection:  # noqa: B006 - only read
        """Set up a connection of this service over ``channel``.

        Called on the class, it makes an instance for the connection.
        """
        service = self() if isinstance(self, type) else self
        conn: Connection = service._protocol(service, channel, config)
        try:
            service.on_connect(conn)
        except Exception:
            # Closed now and not when the garbage collector finds it; the first error counts.
            with contextlib.suppress(Exception):
                conn.close()
            raise
        return conn


class VoidService(Service):
    """A service that offers nothing: what most clients need."""

    __slots__ = ()


class ModuleNamespace:
    """The modules of a peer, by attribute or index: ``ns.os``, ``ns["xml.dom"]``.

    ``getmodule`` imports a module, given its name or a tuple of the name's parts. What it returned
    is kept. ``name in ns`` finds top-level modules, and others once they are imported.
    """

    __slots__ = ("__cache", "__getmodule", "__weakref__")

    def __init__(self, getmodule: Callable[[str | tuple[str, ...]], Any]) -> None:
        self.__getmodule = getmodule
        self.__cache: dict[str | tuple[str, ...], Any] = {}
        # Both are needed soon, and by nearly everybody.
        self["builtins"]
        self["importlib.util"]

    def __contains__(self, name: str) -> bool:
        try:
            return self["importlib.util"]._find_spec_from_path(name) is not None
        except ValueError:
            # An imported module without a spec, such as __main__.
            return bool(name)

    def __getitem__(self, name: str | tuple[str, ...]) -> Any:
        if name not in self.__cache:
            self.__cache[name] = self.__getmodule(name)
        return self.__cache[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except ImportError:
            raise AttributeError(name) from None


class Slave:
    """The tools that a master works with: run code here, and get at modules."""

    __slots__ = ("_conn", "namespace")

    _conn: Connection | None
    namespace: dict[str, Any]

    def __init__(self) -> None:
        self._conn = None
        self.namespace = {}

    def execute(self, text: str) -> None:
        """Run Python statements in the namespace."""
        execute(text, self.namespace)

    def eval(self, text: str) -> Any:
        """Evaluate a Python expression in the namespace."""
        return eval(text, self.namespace)

    def getmodule(self, name: str | tuple[str, ...]) -> Any:
        """Import a module by its dotted name or a tuple of the name's parts."""
        return importlib.import_module(name if isinstance(name, str) else ".".join(name))

    def getconn(self) -> Connection | None:
        """Return the connection, as seen from here."""
        return self._conn


class SlaveService(Slave, Service):
    """Lets its peer do everything that Python can: for trusted peers only.

    Every tool has its plain name and its ``exposed_`` name: classic connections read attributes as
    they are spelled.
    """

    __slots__ = ()

    def on_connect(self, conn: Connection) -> None:
        """Open the connection's access rules completely."""
        self._conn = conn
        conn._config.update(
            allow_all_attrs=True,
            allow_pickle=True,
            allow_getattr=True,
            allow_setattr=True,
            allow_delattr=True,
            allow_exposed_attrs=False,
            import_custom_exceptions=True,
            instantiate_custom_exceptions=True,
            instantiate_oldstyle_exceptions=True,
        )
        super().on_connect(conn)

    def getattr(self, obj: Any, name: str) -> Any:
        """Return an attribute of an object."""
        return getattr(obj, name)

    def setattr(self, obj: Any, name: str, value: Any) -> None:
        """Set an attribute of an object."""
        setattr(obj, name, value)

    def exposed_execute(self, text: str) -> None:
        """The same as :meth:`execute`."""
        self.execute(text)

    def exposed_eval(self, text: str) -> Any:
        """The same as :meth:`eval`."""
        return self.eval(text)

    def exposed_getmodule(self, name: str | tuple[str, ...]) -> Any:
        """The same as :meth:`getmodule`."""
        return self.getmodule(name)

    def exposed_getconn(self) -> Connection | None:
        """The same as :meth:`getconn`."""
        return self.getconn()

    def exposed_getattr(self, obj: Any, name: str) -> Any:
        """The same as :meth:`getattr`."""
        return self.getattr(obj, name)

    def exposed_setattr(self, obj: Any, name: str, value: Any) -> None:
        """The same as :meth:`setattr`."""
        self.setattr(obj, name, value)

    @property
    def exposed_namespace(self) -> dict[str, Any]:
        """The same as ``namespace``."""
        return self.namespace


class FakeSlaveService(VoidService):
    """Has the names of a slave's tools, and nothing behind them."""

    __slots__ = ()

    exposed_namespace: Any = None
    exposed_execute: Any = None
    exposed_eval: Any = None
    exposed_getmodule: Any = None
    exposed_getconn: Any = None


class MasterService(Service):
    """Puts the tools of a slave at the other end on the connection object.

    That is ``modules``, ``eval``, ``execute``, ``namespace``, ``builtins`` (also ``builtin``) and
    ``teleport``.
    """

    __slots__ = ()

    def on_connect(self, conn: Connection) -> None:
        """Fetch the slave's tools."""
        super().on_connect(conn)
        self._install(conn, conn.root)

    @staticmethod
    def _install(conn: Any, slave: Any) -> None:
        getmodule = slave.getmodule
        if getmodule is None:
            # The peer is a ClassicClient: it commands and can't be commanded.
            return
        # Needs this module itself.
        from rpyc.utils.classic import teleport_function

        conn.modules = ModuleNamespace(getmodule)
        conn.eval = slave.eval
        conn.execute = slave.execute
        conn.namespace = slave.namespace
        conn.builtin = conn.modules.builtins
        conn.builtins = conn.builtin
        conn.teleport = partial(teleport_function, conn)


class ClassicService(MasterService, SlaveService):
    """Both ends command each other: the full classic mode."""

    __slots__ = ()


class ClassicClient(MasterService, FakeSlaveService):
    """Commands a classic server without letting it command this side."""

    __slots__ = ()

    def exposed_getmodule(self, name: str | tuple[str, ...]) -> None:
        """Return nothing.

        A server that is master too fetches two modules when the connection starts; the connection
        fails if it can't.
        """
