"""Classic mode: the client drives the server's interpreter."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

import rpyc

from .registry import raises, scenario


def connect(peer: Any) -> Any:
    """A symmetric classic connection."""
    return peer.connect("classic", rpyc.ClassicService)


@scenario
def remote_interpreter(peer: Any) -> None:
    """execute, eval and the namespace share one state."""
    conn = connect(peer)
    conn.execute("x = [1, 2, 3]\ndef square(n): return n * n")
    assert conn.eval("x[1] + 1") == 3
    assert conn.namespace["square"](12) == 144
    remote = conn.namespace["x"]
    remote.append(4)
    assert conn.eval("len(x)") == 4
    conn.namespace["y"] = "text"
    assert conn.eval("y * 2") == "texttext"
    raises(ZeroDivisionError, conn.eval, "1/0")
    raises(SyntaxError, conn.execute, "1 +")
    raises(NameError, conn.eval, "unknown_name")


@scenario
def remote_modules(peer: Any) -> None:
    """Modules of the server, by attribute and by item, and their attributes for reading and writing."""
    conn = connect(peer)
    assert conn.modules.os.getpid() != os.getpid()
    assert conn.modules["xml.dom.minidom"].parseString("<a/>").documentElement.tagName == "a"
    assert conn.modules.sys is conn.modules["sys"]
    assert "os" in conn.modules and "no_such_module" not in conn.modules
    raises(ImportError, lambda: conn.modules["no_such_module"])
    raises(AttributeError, lambda: conn.modules.no_such_module)
    table = conn.modules.colorsys
    table.marker = 5
    assert conn.eval("__import__('colorsys').marker") == 5
    del table.marker
    assert not hasattr(table, "marker")
    path = conn.modules.os.path.join("a", "b")
    assert path == os.path.join("a", "b")


@scenario
def remote_builtins(peer: Any) -> None:
    """Builtins of the server work on objects of either side."""
    conn = connect(peer)
    assert conn.builtins is conn.builtin
    assert conn.builtins.len([1, 2]) == 2
    assert conn.builtins.sum(conn.builtins.range(5)) == 10
    assert conn.builtins.sorted([3, 1, 2])[0] == 1
    assert isinstance(conn.builtins.list(), list)
    remote_dict = conn.builtins.dict([("k", 1)])
    assert dict(remote_dict) == {"k": 1}
    raises(ValueError, conn.builtins.int, "x")
    shown = conn.builtins.locals()
    assert "self" in list(shown)


@scenario
def objects_cross_in_both_directions(peer: Any) -> None:
    """The server keeps and calls what the client gives it."""
    conn = connect(peer)
    seen: list[int] = []
    conn.namespace["report"] = seen.append
    conn.execute("for n in range(5): report(n)")
    assert seen == [0, 1, 2, 3, 4]
    conn.execute("import functools")
    assert conn.eval("functools.reduce")(lambda a, b: a * b, [1, 2, 3, 4]) == 24
    assert sorted(conn.builtins.map(lambda n: n + 1, [1, 2])) == [2, 3]


@scenario
def obtain_and_deliver(peer: Any) -> None:
    """Copies in both directions."""
    conn = connect(peer)
    conn.execute("data = {'a': [1, 2], 'b': None}")
    local = rpyc.classic.obtain(conn.namespace["data"])
    assert local == {"a": [1, 2], "b": None} and type(local) is dict
    remote = rpyc.classic.deliver(conn, [1, {"k": 2}])
    assert type(remote) is not list and conn.builtins.type(remote) is conn.builtins.list
    conn.namespace["delivered"] = remote
    assert conn.eval("type(delivered).__name__") == "list"


@scenario
def teleported_functions(peer: Any) -> None:
    """A function is sent as code and runs in the server; its globals are the remote namespace."""
    conn = connect(peer)
    if tuple(conn.modules.sys.version_info[:2]) != sys.version_info[:2]:
        # Byte code is only understood by the same version of Python.
        raises(TypeError, conn.teleport, lambda: None)
        return

    def where(scale: int = 2, *, offset: int = 1) -> tuple[int, int]:
        import os as remote_os

        return remote_os.getpid(), scale * base + offset  # type: ignore[name-defined]  # noqa: F821

    conn.execute("base = 100")
    remote = conn.teleport(where)
    server_pid = conn.modules.os.getpid()
    assert remote() == (server_pid, 201)
    assert remote(3, offset=0) == (server_pid, 300)
    conn.execute("base = 0")
    assert remote()[1] == 1
    assert conn.eval("where()")[1] == 1


@scenario
def files_are_copied(peer: Any) -> None:
    """A directory goes up and comes down unchanged."""
    conn = connect(peer)
    with tempfile.TemporaryDirectory() as base:
        source = os.path.join(base, "source")
        os.makedirs(os.path.join(source, "inner", "empty"))
        block = os.urandom(200000)
        for name in ("one", os.path.join("inner", "two")):
            with open(os.path.join(source, name), "wb") as out:
                out.write(block + name.encode())
        rpyc.classic.upload(conn, source, os.path.join(base, "there"))
        rpyc.classic.download(conn, os.path.join(base, "there"), os.path.join(base, "back"))
        for name in ("one", os.path.join("inner", "two")):
            with open(os.path.join(base, "back", name), "rb") as got:
                assert got.read() == block + name.encode()
        assert os.path.isdir(os.path.join(base, "back", "inner", "empty"))


@scenario
def classic_refcounts(peer: Any) -> None:
    """A remote finalizer runs when the last proxy is gone, not before."""
    conn = connect(peer)
    conn.execute("ended = []\nclass Noisy:\n    def __del__(self): ended.append(1)")
    first = conn.eval("Noisy()")
    second = first
    del first
    conn.ping()
    assert conn.eval("len(ended)") == 0
    del second
    for _ in range(100):
        conn.ping()
        if conn.eval("len(ended)"):
            break
    assert conn.eval("len(ended)") == 1


@scenario
def one_sided(peer: Any) -> None:
    """A master drives a slave, which has no way back but callbacks."""
    conn = peer.connect("slave", rpyc.core.service.MasterService)
    conn.execute("import math")
    assert conn.eval("math.floor(2.5)") == 2
    assert conn.modules.os.getpid() != os.getpid()
    assert conn.eval("list")([1, 2])[1] == 2
    assert conn.root.get_service_name() == "SLAVE"


@scenario
def root_of_a_slave(peer: Any) -> None:
    """A plain client uses what the root of a slave offers."""
    root = peer.connect("slave").root
    root.execute("n = 20")
    assert root.eval("n + 1") == 21
    assert root.getmodule("os").getpid() != os.getpid()
    assert root.namespace["n"] == 20
