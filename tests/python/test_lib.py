"""The small tools in rpyc.lib."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import os
import posixpath
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

import rpyc
from rpyc.lib import (
    Timeout,
    compat,
    exp_backoff,
    get_id_pack,
    get_methods,
    hasattr_static,
    hybridmethod,
    maxint,
    safe_import,
    socket_backoff_connect,
    spawn,
    spawn_waitready,
)
from rpyc.lib.colls import RefCountingColl, WeakValueDict
from rpyc.lib.threads import launch

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "vectors.json").read_text())


class Point:
    """a point"""

    def exposed_move(self) -> None:
        """Move."""


def gen_id_packs() -> None:
    """A function of this name is one of the vectors' samples."""


SAMPLES: dict[str, Any] = {
    "5": 5,
    "[]": [],
    "class Point": Point,
    "Point instance": Point(),
    "function": gen_id_packs,
    "len": len,
    "bound method": Point().exposed_move,
    "module json": json,
    "module os.path": posixpath,
    "module not in sys.modules": types.ModuleType("mymod"),
    "module named 'module'": types.ModuleType("module"),
    "types.ModuleType": types.ModuleType,
    "type": type,
    "NoneType": type(None),
    "generator": (i for i in [0]),
    "list iterator": iter([]),
    "functools.partial": functools.partial(len),
    "ValueError()": ValueError(),
    "dict_keys": {}.keys(),
}


@pytest.mark.parametrize("sample", VECTORS["id_packs"]["samples"], ids=lambda s: s["object"])
def test_id_packs_of_the_vectors(sample: dict[str, Any]) -> None:
    obj = SAMPLES[sample["object"]]
    name = sample["name"].replace("__main__", __name__)
    if sample["object"] == "module named 'module'":
        # RPyC sends "{obj.__module__}.{obj_name}" here: an interpolation is missing.
        name = "builtins.module"
    second = obj if sample["second"] == "id(object)" else type(obj)
    third = 0 if sample["third"] == 0 else id(obj)
    assert get_id_pack(obj) == (name, id(second), third)


def test_id_pack_of_a_proxy_is_its_own() -> None:
    class Proxy:
        __slots__ = ("____id_pack__",)

    proxy: Any = Proxy()
    proxy.____id_pack__ = ("far.Away", 1, 2)
    assert get_id_pack(proxy) == ("far.Away", 1, 2)
    assert get_id_pack(Proxy) == (f"{__name__}.Proxy", id(Proxy), 0)
    assert get_id_pack(rpyc.BaseNetref) == ("rpyc.core.netref.BaseNetref", id(rpyc.BaseNetref), 0)


def test_id_pack_does_not_ask_a_catch_all_getattr() -> None:
    class Agreeable:
        def __getattr__(self, name: str) -> str:
            return name

    class Angry:
        def __getattr__(self, name: str) -> str:
            raise RuntimeError(name)

    for cls in (Agreeable, Angry):
        obj = cls()
        assert get_id_pack(obj) == (f"{__name__}.{cls.__name__}", id(cls), id(obj))


def test_id_pack_takes_the_name_from_the_claimed_class_and_the_id_from_the_real_one() -> None:
    class Liar:
        __class__ = property(lambda self: dict)

    class Broken:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise RuntimeError("no")

    liar, broken = Liar(), Broken()
    assert get_id_pack(liar) == ("builtins.dict", id(Liar), id(liar))
    assert get_id_pack(broken) == (f"{__name__}.Broken", id(Broken), id(broken))


def test_id_pack_of_classes_without_module_and_with_a_name_property() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            return "Renamed"

    class Named(metaclass=Meta):
        pass

    Nowhere = type("Nowhere", (), {"__module__": None})
    assert get_id_pack(Named)[0] == f"{__name__}.Renamed"
    assert get_id_pack(Nowhere)[0] == "None.Nowhere"


class Base:
    def documented(self) -> None:
        """From the
        base."""

    @staticmethod
    def static() -> None:
        """static text"""

    @classmethod
    def klass(cls) -> None:
        pass

    prop = property(lambda self: 1)
    part = functools.partial(print)
    data = 5

    class Nested:
        pass


class Child(Base):
    def documented(self) -> None:
        pass

    def later(self) -> None:
        pass

    static = None  # type: ignore[assignment]


def test_methods_of_an_instance() -> None:
    local = frozenset(dir(object))
    assert list(get_methods(local, Base())) == [
        ("documented", "From the\nbase."),
        ("static", "static text"),
        ("klass", None),
    ]
    # The order is that of first sight; an override that is no routine takes the name away, and a
    # method without a text has the text of the one that it overrides.
    assert list(get_methods(local, Child())) == [
        ("documented", "From the\nbase."),
        ("klass", None),
        ("later", None),
    ]


def test_methods_of_an_instance_follow_changes() -> None:
    class Changing:
        def first(self) -> None:
            pass

    local = frozenset(dir(object))
    thing = Changing()
    for _ in range(3):
        assert list(get_methods(local, thing)) == [("first", None)]
    Changing.first.__doc__ = "A text."
    assert list(get_methods(local, thing)) == [("first", "A text.")]
    changed: Any = Changing
    changed.second = lambda self: None
    assert list(get_methods(local, thing)) == [("first", "A text."), ("second", None)]
    del Changing.first
    assert list(get_methods(local, thing)) == [("second", None)]
    assert dict(get_methods((), thing)).keys() > {"second", "__init__"}


def test_methods_of_a_class_include_those_of_its_metaclass() -> None:
    class Meta(type):
        def of_meta(cls) -> None:
            pass

    class Made(metaclass=Meta):
        def of_class(self) -> None:
            pass

    names = [name for name, _ in get_methods(frozenset(dir(type)), Made)]
    assert names == ["of_meta", "of_class"]


@pytest.mark.parametrize("doc", ["", "a", " a ", "a\n  b", "a\n  b\nc", "a\n\n b\n\n", "a\tb", "a\n \n", "\na", "a\nb\n", "a\n\tb\nc"])
def test_texts_are_cleaned_as_inspect_does(doc: str) -> None:
    def method() -> None: ...

    method.__doc__ = doc
    assert dict(get_methods((), type("Holder", (), {"method": method})))["method"] == inspect.cleandoc(doc)


def test_methods_leave_out_the_given_names() -> None:
    everything = dict(get_methods((), Base()))
    assert "__init__" in everything and "__sizeof__" in everything
    assert "__init__" not in dict(get_methods({"__init__"}, Base()))


def test_hasattr_static_runs_no_user_code() -> None:
    class Trap:
        def __getattr__(self, name: str) -> None:
            raise AssertionError("asked")

        @property
        def prop(self) -> None:
            raise AssertionError("run")

    assert hasattr_static(Trap(), "prop")
    assert not hasattr_static(Trap(), "missing")


def test_timeout_states() -> None:
    endless, negative, now, later = Timeout(None), Timeout(-1), Timeout(0), Timeout(100)
    for timeout in (endless, negative):
        assert not timeout.finite and timeout.tmax is None
        assert not timeout.expired() and timeout.timeleft() is None
    assert now.finite and now.expired() and now.timeleft() == 0
    left = later.timeleft()
    assert later.finite and not later.expired() and left is not None and 90 < left <= 100


def test_timeout_takes_over_the_end_of_another() -> None:
    first = Timeout(100)
    second = Timeout(first)
    assert second is not first and second.tmax == first.tmax and second.finite


def test_timeout_uses_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    timeout = Timeout(100)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not timeout.expired()


def test_timeout_sleep_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    Timeout(None).sleep(7)
    Timeout(0).sleep(7)
    Timeout(100).sleep(7)
    Timeout(5).sleep(7)
    assert slept[:3] == [7, 0, 7] and slept[3] <= 5


def test_spawn_names_a_daemon_thread_after_its_function() -> None:
    seen: list[object] = []

    def work(*args: object, **kwargs: object) -> None:
        seen.append((args, kwargs))

    thread = spawn(work, 1, func=2)
    thread.join(10)
    assert seen == [((1,), {"func": 2})]
    assert thread.daemon
    name, class_id, object_id = get_id_pack(work)
    assert thread.name == f"RpycSpawnThread-{name}-{class_id}-{object_id}"


def test_launch_does_not_wait_until_the_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.Thread] = []
    ran = threading.Event()

    def work(value: int) -> None:
        assert value == 1
        seen.append(threading.current_thread())
        ran.set()

    waits: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", lambda *args: waits.append(args))
        launch(work, 1)
    assert not waits
    assert ran.wait(10)
    [thread] = seen
    thread.join(10)
    assert not thread.is_alive() and thread not in threading.enumerate()
    assert thread.daemon and thread.name.startswith("RpycSpawnThread-")


def test_spawn_waitready_returns_after_init_and_then_runs_main() -> None:
    order: list[str] = []
    done = threading.Event()

    def init() -> int:
        order.append("init")
        return 42

    def main() -> None:
        order.append("main")
        done.set()

    thread, result = spawn_waitready(init, main)
    assert result == 42 and order[0] == "init"
    assert done.wait(10)
    thread.join(10)
    assert order == ["init", "main"]


def test_spawn_waitready_raises_what_init_raises() -> None:
    ran: list[str] = []

    def init() -> None:
        raise OSError("address in use")

    with pytest.raises(OSError, match="address in use"):
        spawn_waitready(init, lambda: ran.append("main"))
    assert ran == []


def test_hybridmethod_gets_the_class_or_the_instance() -> None:
    class Hybrid:
        @hybridmethod
        def which(self, *args: int) -> tuple[object, ...]:
            return self, args

    obj = Hybrid()
    assert Hybrid.which(1) == (Hybrid, (1,))
    assert obj.which(2) == (obj, (2,))
    with pytest.raises(AttributeError):
        obj.which = None


def test_safe_import() -> None:
    assert safe_import("os.path") is os.path
    missing = safe_import("no_such_module_here")
    assert not missing
    with pytest.raises(ImportError, match="no_such_module_here"):
        missing.anything
    with pytest.raises(AttributeError):
        missing.__wrapped__


@pytest.mark.parametrize(
    ("call", "level", "text"),
    [
        ("quiet=True, namespace='X'", "ERROR", "ERROR: message"),
        ("", "DEBUG", "DEBUG rpyc[MainThread]: message"),
    ],
)
def test_setup_logger(call: str, level: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    comma = ", " if call else ""
    code = (
        "import logging, rpyc\n"
        f"logger = rpyc.setup_logger({call}{comma}logfile={str(path)!r})\n"
        f"logger.{level.lower()}('message')\n"
        "print(logger.name, logging.getLevelName(logging.root.level))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert out.split() == ["rpyc.X" if "X" in call else "rpyc", level]
    assert path.read_text().strip().endswith(text)


def test_weak_value_dict_forgets_dead_values() -> None:
    class Value:
        pass

    table: WeakValueDict[str, Value] = WeakValueDict()
    kept = table["kept"] = Value()
    table["gone"] = Value()
    gc.collect()
    assert len(table) == 1 and "kept" in table and "gone" not in table
    assert table["kept"] is kept and table.get("gone", None) is None
    with pytest.raises(KeyError):
        table["gone"]
    assert list(table) == list(table.keys()) == list(table.iterkeys()) == ["kept"]
    assert list(table.values()) == list(table.itervalues()) == [kept]
    assert list(table.items()) == list(table.iteritems()) == [("kept", kept)]
    del table["kept"]
    table["again"] = kept
    table.clear()
    assert len(table) == 0


def test_ref_counting() -> None:
    coll: RefCountingColl[str, object] = RefCountingColl()
    obj = object()
    for count in range(3):
        coll.add("key", obj)
        assert coll._dict["key"] == [obj, count]
    assert coll["key"] is obj
    coll.decref("key", 0)
    assert coll._dict["key"] == [obj, 2]
    coll.decref("key", -1)
    assert coll._dict["key"] == [obj, 3]
    coll.decref("key", 3)
    assert coll._dict["key"] == [obj, 0]
    coll.decref("key")
    with pytest.raises(KeyError):
        coll["key"]
    with pytest.raises(KeyError):
        coll.decref("key")


def test_ref_counting_drops_objects_outside_its_lock() -> None:
    coll: RefCountingColl[str, object] = RefCountingColl()
    came_back: list[str] = []

    class Reentrant:
        def __del__(self) -> None:
            coll.add("new", 1)
            came_back.append("yes")

    coll.add("a", Reentrant())
    coll.decref("a")
    assert came_back == ["yes"]
    coll.add("b", Reentrant())
    coll.clear()
    assert came_back == ["yes", "yes"]


def test_poll_reports_readable_writable_and_hang_up() -> None:
    left, right = socket.socketpair()
    with left:
        poller = compat.poll()
        poller.register(left.fileno(), "rw")
        assert poller.poll(0) == [(left.fileno(), "w")]
        right.send(b"x")
        assert poller.poll(10) == [(left.fileno(), "rw")]
        poller.modify(left.fileno(), "r")
        right.close()
        [(fd, mask)] = poller.poll(10)
        assert fd == left.fileno() and "r" in mask and "h" in mask
        poller.unregister(left.fileno())
        assert poller.poll(0) == []
        with pytest.raises(KeyError):
            poller.unregister(left.fileno())


def test_acquire_lock_respects_the_timeout() -> None:
    lock = threading.Lock()
    assert compat.acquire_lock(lock, True, Timeout(None))
    assert not compat.acquire_lock(lock, True, Timeout(0.01))
    assert not compat.acquire_lock(lock, False, Timeout(None))
    lock.release()
    assert compat.acquire_lock(lock, True, Timeout(1e30))


def test_compat_names() -> None:
    namespace: dict[str, Any] = {}
    compat.execute("x = 1", namespace)
    assert namespace["x"] == 1
    assert compat.pickle.loads(compat.pickle.dumps((1, "a"))) == (1, "a")
    assert compat.BYTES_LITERAL("\u00e9") == b"\xc3\xa9"
    assert compat.get_exc_errno(OSError(5, "x")) == 5
    assert compat.get_exc_errno(ValueError(7)) == 7
    assert compat.get_exc_errno(ValueError()) is None
    assert compat.is_py_3k and compat.is_py_gte37 and compat.is_py_gte38 and compat.is_py_gte310
    assert compat.is_py_gte311 is (sys.version_info >= (3, 11))
    assert maxint == compat.maxint == sys.maxsize


def test_with_metaclass() -> None:
    class Meta(type):
        pass

    class Parent:
        pass

    class Made(compat.with_metaclass(Meta, Parent)):  # type: ignore[misc]
        attribute = 1

    assert type(Made) is Meta
    assert Made.__mro__ == (Made, Parent, object)
    assert Made().attribute == 1


def test_backoff_is_bounded() -> None:
    assert all(
        0 <= exp_backoff(n) <= 51.2e-6 * 2 ** min(n, 10) for n in range(30) for _ in range(50)
    )


def test_connecting_retries_time_outs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Unreachable:
        error: type[OSError] = TimeoutError

        def __init__(self, *args: object) -> None:
            self.closed = False
            made.append(self)

        def settimeout(self, timeout: float) -> None:
            assert timeout == 0.5

        def connect(self, addr: object) -> None:
            raise self.error

        def close(self) -> None:
            self.closed = True

    def connect() -> None:
        socket_backoff_connect(socket.AF_INET, socket.SOCK_STREAM, 0, ("host", 1), 0.5, 4)

    monkeypatch.setattr("rpyc.lib.network.socket.socket", Unreachable)
    with pytest.raises(TimeoutError):
        connect()
    assert len(made) == 4 and all(sock.closed for sock in made)
    made.clear()
    monkeypatch.setattr(Unreachable, "error", ConnectionRefusedError)
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert len(made) == 1 and made[0].closed


def test_connecting_returns_a_connected_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        sock = socket_backoff_connect(socket.AF_INET, socket.SOCK_STREAM, 0, address, 3, 1)
        with sock:
            assert sock.getpeername() == address and sock.gettimeout() == 3


def test_top_level_names() -> None:
    assert getattr(rpyc, "async") is rpyc.async_
    assert rpyc.__version__ == rpyc.version.__version__ == ".".join(rpyc.version.version)
    assert rpyc.version.version[0] == "6"
    assert all(hasattr(rpyc, name) for name in rpyc.__all__)
    for name in ("async_", "brine", "channel", "consts", "netref", "protocol", "service", "stream"):
        assert isinstance(getattr(rpyc.core, name), types.ModuleType)
    assert rpyc.AsyncResultTimeout is TimeoutError


def test_the_old_module_name_of_async() -> None:
    import importlib

    assert importlib.import_module("rpyc.core.async") is rpyc.core.async_
