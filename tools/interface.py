"""Describes the Python interface of the `rpyc` that this interpreter imports, as JSON.

    python tools/interface.py

It knows nothing of other packages, and needs no other file: `tools/parity.py` runs it with the interpreters of both
packages, and compares.

# What counts

A public name counts in the module whose `__all__` has it, or, in a module without `__all__`, if it is defined there.
A constant is defined in the first module, in the order of MODULES, that holds it. Names that docs/api.md lists count
wherever it lists them: re-exports, and the semi-private names that programs use. So what a module merely imports, and
its own helpers, do not count. Attributes of instances are read from specimens that are built for it; what needs a peer
or another machine (DeployedServer) has none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import importlib
import importlib.util
import inspect
import json
import keyword
import socket
import struct
import sys
import types
import typing
from typing import Any

LONGEST_TEXT = 60
"""Characters of a text that is compared; longer ones are programs and messages."""

# Those that others import from come first, so that a shared object is described where it is at home.
MODULES = (
    "rpyc.version", "rpyc.lib.compat", "rpyc.lib", "rpyc.lib.colls", "rpyc.core.consts", "rpyc.core.brine",
    "rpyc.core.stream", "rpyc.core.channel", "rpyc.core.vinegar", "rpyc.core.async_", "rpyc.core.netref",
    "rpyc.core.protocol", "rpyc.core.service", "rpyc.core", "rpyc.utils", "rpyc.utils.authenticators",
    "rpyc.utils.registry", "rpyc.utils.factory", "rpyc.utils.helpers", "rpyc.utils.server", "rpyc.utils.teleportation",
    "rpyc.utils.classic", "rpyc.utils.zerodeploy", "rpyc.cli.rpyc_classic", "rpyc.cli.rpyc_registry", "rpyc",
)  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The names of docs/api.md that the rule for public names leaves out.
LISTED = {
    "rpyc.version": _words("__version__"),
    "rpyc": _words("""__author__ __version__ async SocketStream TunneledSocketStream PipeStream Channel Connection Service
        BaseNetref AsyncResult GenericException AsyncResultTimeout VoidService SlaveService MasterService ClassicService
        connect_stream connect_channel connect_pipes connect_stdpipes connect ssl_connect list_services discover
        connect_by_service connect_subproc connect_thread ssh_connect async_ timed buffiter BgServingThread restricted
        classic exposed service setup_logger spawn OneShotServer ThreadedServer ThreadPoolServer ForkingServer cli
        core lib utils version"""),
    "rpyc.core": _words("""SocketStream TunneledSocketStream PipeStream Channel Connection DEFAULT_CONFIG BaseNetref
        AsyncResult AsyncResultTimeout Service VoidService SlaveService MasterService ClassicService GenericException
        async_ brine channel consts netref protocol service stream vinegar"""),
    "rpyc.core.async_": _words("AsyncResultTimeout"),
    "rpyc.core.brine": _words("_dump _load _dump_registry _load_registry"),
    "rpyc.core.netref": _words("_make_method _builtin_types _normalized_builtin_types pickle consts get_id_pack"),
    "rpyc.core.protocol": _words("get_id_pack"),
    "rpyc.core.vinegar": _words("""_generic_exceptions_cache _exception_classes_cache _get_exception_class
        exceptions_module"""),
    "rpyc.lib": _words("colls compat SPAWN_THREAD_PREFIX maxint"),
    "rpyc.lib.compat": _words("""pickle execute Struct BytesIO poll select select_error TimeoutError maxint callable
        next"""),
    "rpyc.utils": _words("authenticators classic factory helpers registry server"),
    "rpyc.utils.classic": _words("SlaveService factory teleport_function"),
    "rpyc.utils.factory": _words("_get_free_port _server _ssh_connect_lock"),
    "rpyc.utils.helpers": _words("_Async async syncreq asyncreq HANDLE_BUFFITER HANDLE_CALL"),
    "rpyc.utils.teleportation": _words("_export_codeobj _import_codetup CODEOBJ_MAGIC CODE_HAVEARG_SIZE decode_codeobj"),
    "rpyc.utils.zerodeploy": _words("TimeoutExpired"),
}

# Likewise for members of classes.
LISTED_MEMBERS = _words(
    """_conn _is_ready _is_exc _callbacks _obj _ttl _config _channel _local_root _remote_root _local_objects
    _proxy_cache _netref_classes_cache _request_callbacks _HANDLERS _last_traceback _recvlock _sendlock _recv_event
    _send_queue _seqcounter _closed _bind_threads _threads _box _unbox _box_exc _unbox_exc _netref_factory _send
    _dispatch _dispatch_request _seq_request_callback _async_request _get_seq_id _cleanup _check_attr _access_attr
    _request_handlers _protocol _rpyc_setattr _rpyc_delattr _connect _install _dict _listen _register
    _start_in_thread _accept_method _authenticate_and_serve_client _serve_client _handle_connection _bg_register
    _active_connection_queue _handle_ping _handle_close _handle_getroot _handle_getattr _handle_delattr _handle_setattr
    _handle_call _handle_callattr _handle_repr _handle_str _handle_cmp _handle_hash _handle_instancecheck _handle_dir
    _handle_pickle _handle_del _handle_inspect _handle_buffiter _handle_oldslicing _handle_ctxexit"""
)

# Special attributes that say how a class was written, not what it can do. The constructor is part of the class's row.
BOILERPLATE = _words(
    """__module__ __doc__ __dict__ __weakref__ __slots__ __qualname__ __annotations__ __init__ __new__ __orig_bases__
    __parameters__ __init_subclass__ __static_attributes__ __firstlineno__ __abstractmethods__ __class_getitem__
    __annotate_func__ __annotations_cache__"""
)

# Attributes that ask or serve the peer; a specimen has none.
ASKING = frozenset({"root", "value", "error", "ready"})

# What depends on the version of Python, and what it should be.
VERSION_FLAGS = {"is_py_gte310": sys.version_info >= (3, 10), "is_py_gte311": sys.version_info >= (3, 11)}


@dataclasses.dataclass
class Name:
    """What is known of one name: its kind; its parameters, if it is called; its value, type or home."""

    module: str
    kind: str
    value: str = ""
    parameters: list[str] | None = None
    bases: list[str] = dataclasses.field(default_factory=list)
    counts: bool = True
    starred: bool = True
    """Whether `import *` brings it; true for members."""

    def text(self) -> str:
        """The parts that are compared, as the table shows them."""
        called = "" if self.parameters is None else f"({', '.join(self.parameters)})"
        bases = f" of {', '.join(self.bases)}" if self.bases else ""
        return called + bases + self.value

    def accepts(self, other: Name) -> bool:
        """Whether every call that the other one accepts works here: it has the same parameters, then optional ones."""
        mine, theirs = self.parameters, other.parameters
        if mine is None or theirs is None or (self.bases, self.value) != (other.bases, other.value):
            return False
        more = mine[len(theirs) :]
        return mine[: len(theirs)] == theirs and all("=" in name or name.startswith("*") for name in more)


def dump() -> dict[str, Any]:
    """Describe the package `rpyc` of this interpreter, as data for JSON."""
    modules = {path: importlib.import_module(path) for path in MODULES}
    for content in modules.values():
        for key in dir(content):
            # Names that are imported when somebody asks for them are in the module from then on.
            getattr(content, key)
    homes = _homes(modules)
    names: dict[str, Name] = {}
    classes: list[tuple[str, str, type]] = []
    for module, content in modules.items():
        for key, value in vars(content).items():
            path = f"{module}.{key}"
            if key.startswith("__") and key not in LISTED.get(module, ()):
                continue
            names[path] = _describe(Name(module, ""), value, path, homes)
            names[path].counts = _counts(modules, module, key, value)
            exported = key in getattr(content, "__all__", () if key.startswith("_") else (key,))
            names[path].starred = exported and not keyword.iskeyword(key)
            if _is_class(value) and homes.get(id(value)) == path:
                classes.append((module, path, value))
            if key == "DEFAULT_CONFIG" and homes.get(id(value)) == path:
                for option, default in value.items():
                    names[f"{path}.{option}"] = Name(module, "setting", _literal(default, homes))
    with contextlib.ExitStack() as ends:
        instances = _specimens(ends)
        # Bases first: what they have is not told again.
        for module, path, cls in sorted(classes, key=lambda found: len(found[2].__mro__)):
            names.update(_members(module, path, cls, instances.get(cls), homes, names))
    return {
        "where": sys.executable,
        "native": importlib.util.find_spec("rpyc._rpyc") is not None,
        "names": {path: dataclasses.asdict(name) for path, name in names.items()},
    }


def _homes(modules: dict[str, types.ModuleType]) -> dict[int, str]:
    """The path at which a shared object of the package is described, by the object's id."""
    homes: dict[int, str] = {}
    for module, content in modules.items():
        # Its own name before other names for it.
        for key, value in sorted(vars(content).items(), key=lambda item: item[0] != getattr(item[1], "__name__", "")):
            shared = (_is_definition(value) and _is_of_package(value)) or isinstance(value, (dict, set))
            if shared and not key.startswith("__") and _counts(modules, module, key, value):
                homes.setdefault(id(value), f"{module}.{key}")
    return homes


def _counts(modules: dict[str, types.ModuleType], module: str, key: str, value: Any) -> bool:
    """The rule at the top of this file."""
    content = modules[module]
    if key in LISTED.get(module, ()):
        return True
    if hasattr(content, "__all__"):
        return key in content.__all__
    if key.startswith("_") or isinstance(value, types.ModuleType):
        return False
    if _is_definition(value):
        return bool(getattr(value, "__module__", None) == module)
    kind = type(value)
    if (kind.__module__ not in {"builtins", "_struct"} and not _is_of_package(kind)) or kind.__name__ == "MissingModule":
        return False
    earlier = MODULES[: MODULES.index(module)]
    return getattr(typing, key, None) is not value and all(vars(modules[one]).get(key) is not value for one in earlier)


def _is_definition(value: Any) -> bool:
    return _is_class(value) or inspect.isroutine(value)


def _is_class(value: Any) -> bool:
    # Python 3.10 takes `list[int]` for a class.
    return isinstance(value, type) and not isinstance(value, types.GenericAlias)


def _is_of_package(definition: Any) -> bool:
    return (getattr(definition, "__module__", None) or "").partition(".")[0] == "rpyc"


def _describe(name: Name, value: Any, path: str, homes: dict[int, str]) -> Name:
    """Fill in what a module has under a name."""
    if isinstance(value, types.ModuleType):
        name.kind = "module"
        name.value = "" if value.__name__ == path else f" = {value.__name__}"
        return name
    name.kind = "class" if _is_class(value) else "function" if inspect.isroutine(value) else "constant"
    home = homes.get(id(value), path)
    if _is_definition(value) and not _is_of_package(value):
        home = _full_name(value, homes)
    if home != path:
        name.value = f" = {home}"
    elif name.kind == "constant":
        key = path.rpartition(".")[2]
        # The keys have rows of their own.
        name.value = "" if key == "DEFAULT_CONFIG" else _literal(value, homes)
        if value is VERSION_FLAGS.get(key):
            name.value = "the truth about this Python"
    else:
        name.parameters = _parameters(value, homes)
    if name.kind == "class" and home == path:
        name.bases = [_full_name(base, homes) for base in value.__mro__[1:-1] if base is not BaseException]
    return name


def _members(
    module: str, path: str, cls: type, instance: Any, homes: dict[int, str], known: dict[str, Name]
) -> dict[str, Name]:
    """The members of a class, and the attributes of its specimen. Those of bases described elsewhere do not count."""
    found: dict[str, Name] = {}
    bases = cls.__mro__[:-1]
    elsewhere = [homes[id(base)] for base in bases[1:] if id(base) in homes]
    for base in bases:
        for key, raw in vars(base).items():
            if key not in BOILERPLATE and (member := f"{path}.{key}") not in found:
                found[member] = _describe_member(Name(module, ""), cls, key, raw, homes)
                at_home = base is cls or (_is_of_package(base) and id(base) not in homes)
                found[member].counts = at_home and _is_listed(key)
        for key in inspect.get_annotations(base):
            # Set by an instance, sooner or later.
            found.setdefault(f"{path}.{key}", Name(module, "attribute", counts=False))
    if instance is None:
        return found
    attributes = {path.rpartition(".")[2] for path, name in found.items() if name.kind == "attribute"}
    attributes |= getattr(instance, "__dict__", {}).keys()
    for key in filter(_is_listed, attributes - ASKING):
        own = not any(f"{base}.{key}" in known for base in elsewhere)
        name = found.setdefault(f"{path}.{key}", Name(module, "attribute", counts=own))
        if name.kind == "attribute":
            name.value = _type_text(getattr(instance, key, None))
    return found


def _is_listed(key: str) -> bool:
    special = key.startswith("__") and key.endswith("__")
    return special or not key.startswith("_") or key in LISTED_MEMBERS


def _describe_member(name: Name, cls: type, key: str, raw: Any, homes: dict[int, str]) -> Name:
    """Fill in what a class has under a name; `raw` is how its dictionary holds it."""
    if key.startswith("__") and key != "__call__":
        # Called by the interpreter: nobody depends on the names of its parameters.
        name.kind = "special method"
    elif isinstance(raw, staticmethod):
        name.kind, name.parameters = "static method", _parameters(raw.__func__, homes)
    elif isinstance(raw, (classmethod, types.ClassMethodDescriptorType)) or type(raw).__name__ == "hybridmethod":
        name.kind = "hybrid method" if type(raw).__name__ == "hybridmethod" else "class method"
        name.parameters = _parameters(getattr(cls, key), homes)
    elif inspect.isroutine(raw):
        parameters = _parameters(raw, homes)[1:]
        # Whether self could be given by name does not matter.
        name.kind, name.parameters = "method", parameters[parameters[:1] == ["/"] :]
    elif isinstance(raw, type):
        name.kind, name.value = "class", f" = {_full_name(raw, homes)}"
    elif hasattr(raw, "__get__"):
        name.kind = "attribute"
    else:
        name.kind, name.value = "constant", _literal(raw, homes)
    return name


def _parameters(called: Any, homes: dict[int, str]) -> list[str]:
    """The parameters as they are written, without annotations; the markers `/` and `*` are items of their own."""
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        return ["..."]
    written: list[str] = []
    before = None
    for parameter in parameters:
        kind = parameter.kind
        if before is parameter.POSITIONAL_ONLY is not kind:
            written.append("/")
        if kind is parameter.KEYWORD_ONLY is not before and before is not parameter.VAR_POSITIONAL:
            written.append("*")
        collecting: dict[Any, str] = {parameter.VAR_POSITIONAL: "*args", parameter.VAR_KEYWORD: "**kwargs"}
        text = collecting.get(kind, parameter.name)
        if parameter.default is not parameter.empty:
            # This one differs between systems.
            symbolic = parameter.name == "backlog" and parameter.default == socket.SOMAXCONN
            text += "=" + ("SOMAXCONN" if symbolic else _literal(parameter.default, homes))
        written.append(text)
        before = kind
    return [*written, "/"] if before is inspect.Parameter.POSITIONAL_ONLY else written


def _literal(value: Any, homes: dict[int, str]) -> str:
    """A value as text that is the same in every process and for equal values."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= LONGEST_TEXT else f"a long {type(value).__name__}"
    if isinstance(value, struct.Struct):
        return f"Struct({value.format!r})"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{_literal(k, homes)}: {_literal(v, homes)}" for k, v in value.items())) + "}"
    if isinstance(value, (tuple, list, set, frozenset)):
        items = [_literal(item, homes) for item in value]
        return f"{type(value).__name__}({', '.join(items if isinstance(value, (tuple, list)) else sorted(items))})"
    if isinstance(value, types.GenericAlias):
        return "a type alias"
    if isinstance(value, type):
        return _full_name(value, homes)
    if inspect.isroutine(value):
        return "a function"
    return repr(value) if value is None or isinstance(value, (int, float, complex)) else "an object"


def _type_text(value: Any) -> str:
    """The kind of value that an attribute has: a builtin type, or just an object."""
    plain = (bool, int, float, str, bytes, tuple, list, dict, set, type(None))
    return next((kind.__name__ for kind in plain if isinstance(value, kind)), "object")


def _full_name(cls: Any, homes: dict[int, str]) -> str:
    return homes.get(id(cls), f"{getattr(cls, '__module__', None)}.{cls.__qualname__}").removeprefix("builtins.")


def _specimens(ends: contextlib.ExitStack) -> dict[type, Any]:
    """An instance of each class that keeps attributes. Nothing is connected to anything."""
    from rpyc.core.async_ import AsyncResult
    from rpyc.core.channel import Channel
    from rpyc.core.protocol import Connection
    from rpyc.core.service import ModuleNamespace, Slave, SlaveService, VoidService
    from rpyc.core.stream import PipeStream, SocketStream, TunneledSocketStream
    from rpyc.lib import Timeout, colls
    from rpyc.utils import authenticators, classic, registry, server

    def stream() -> Any:
        mine, peer = socket.socketpair()
        ends.callback(mine.close)
        peer.close()
        return SocketStream(mine)

    conn = Connection(VoidService(), Channel(stream()), {})
    ends.callback(conn.close)
    local = {"hostname": "127.0.0.1", "port": 0}
    servers = [
        getattr(server, name)(VoidService, **local) for name in ("Server", "ThreadPoolServer", "ForkingServer")
    ]
    registries = [
        registry.UDPRegistryServer("127.0.0.1", 0), registry.TCPRegistryServer("127.0.0.1", 0),
        registry.UDPRegistryClient(), registry.TCPRegistryClient("127.0.0.1"),
    ]  # fmt: skip
    pipes = PipeStream.create_pair()
    for pipe in pipes:
        ends.callback(pipe.close)
    made = [
        conn, conn._channel, conn._channel.stream, AsyncResult(conn), TunneledSocketStream(socket.socket()), pipes[0],
        Slave(), SlaveService(), ModuleNamespace(lambda name: importlib.import_module(str(name))), Timeout(1), colls.RefCountingColl(),
        authenticators.SSLAuthenticator("key", "certificate"), classic.MockClassicConnection(), *servers, *registries,
    ]  # fmt: skip
    return {type(one): one for one in made}


if __name__ == "__main__":
    json.dump(dump(), sys.stdout)
