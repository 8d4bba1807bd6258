"""What users of RPyC have reported over the years, played again: proxies, and classic mode.

Each docstring says the symptom that must not show. The other half is test_reported.py.
"""

from __future__ import annotations

import collections.abc
import contextlib
import copy
import enum
import importlib
import inspect
import io
import logging
import math
import sys
import types
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig, close_quietly

import rpyc
from rpyc.core.service import SlaveService

# A classic server in a process of its own. It says nothing of what its clients do to it.
SERVER = """
import logging, threading
from rpyc.core.service import SlaveService
from rpyc.utils.server import ThreadedServer
logging.disable()
threading.excepthook = lambda *_: None
server = ThreadedServer(SlaveService, hostname="127.0.0.1", port=0)
server._listen()
print(server.port)
server.start()
"""


@pytest.fixture
def classic(rig: Rig) -> Any:
    """A classic connection to a server in this process."""
    server = rig.serve(SlaveService)
    conn = rpyc.classic.connect("127.0.0.1", server.port)
    rig.on_end(close_quietly, conn)
    return conn


# ------------------------------------------------------------------------------------------------- proxies of everything


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 1


class Same:
    """Compares by a field, which is an enum member."""

    def __init__(self, colour: Colour) -> None:
        self.colour = colour

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.colour == other.colour


class Things(rpyc.Service):
    exposed_Colour, exposed_Size = Colour, Size

    def exposed_same(self) -> Same:
        return Same(Colour.RED)

    def exposed_plain(self) -> object:
        return object()

    def exposed_dict(self) -> dict[str, int]:
        return {"a": 1}


def test_enums_and_equality(rig: Rig) -> None:
    """Members of a remote enum, and objects that compare by them, were not equal to themselves; `==` was denied."""
    root = rig.connect(rig.serve(Things, {"allow_public_attrs": True})).root
    assert root.Colour.RED == root.Colour.RED and root.Colour.RED is root.Colour.RED and root.Colour.RED.value == "red"
    assert [member.name for member in root.Colour] == ["RED"] and root.Colour("red") == root.Colour.RED
    assert root.Size.BIG == 1 and [7, 8][root.Size.BIG] == 8 and hash(root.Colour.RED) == hash(root.Colour.RED)
    assert root.same() == root.same() and root.plain() != root.plain() and root.plain() != 1


def test_what_kind_of_thing_a_proxy_is(rig: Rig, classic: Any) -> None:
    """isinstance, the functions of inspect, and `__class__` of remote classes told something else than locally."""
    remote = classic.builtins
    assert isinstance(remote.list(), list) and isinstance(remote.list(), collections.abc.Sequence) and isinstance(remote.dict(), dict)
    assert not isinstance(remote.list(), collections.abc.Mapping)
    assert remote.float.__class__ is type and isinstance(remote.float, type) and remote.list().__class__ is list
    assert inspect.isfunction(classic.modules.os.path.join) and inspect.isbuiltin(classic.modules.os.listdir)
    assert inspect.ismodule(classic.modules.sys) and inspect.isclass(remote.list) and inspect.isgenerator(classic.eval("(i for i in '')"))
    assert "path" in inspect.signature(classic.modules.os.path.abspath).parameters


def test_arithmetic_and_format(rig: Rig, classic: Any) -> None:
    """Numbers that travel by reference did not round, floor, divide or format."""
    number = classic.modules.decimal.Decimal
    assert number("1.5") + 1 == 1 + number("1.5") and round(number("1.56"), 1) == number("1.6") and float(number("1.5")) == 1.5
    assert f"{number('1.5'):>8}" == "     1.5" and math.trunc(classic.modules.fractions.Fraction(7, 2)) == 3 and divmod(number(7), 2)[1] == 1
    assert rpyc.classic.obtain(number("1.5")) == Decimal("1.5")
    assert f"{classic.modules.datetime.date(2020, 1, 2):%d.%m.%Y}" == "02.01.2020"


def test_dicts_of_the_other_side(rig: Rig) -> None:
    """`items` of a remote dict was denied though the own side allowed it: it is the owner who allows."""

    class Taking(rpyc.Service):
        def exposed_take(self, given: Any) -> tuple[str, ...]:
            return tuple(key for key, _ in given.items())

    server = rig.serve(Taking, {"allow_public_attrs": True})
    assert rig.connect(server, allow_public_attrs=True).root.take({"key": 1}) == ("key",)
    with pytest.raises(AttributeError, match="cannot access 'items' of a remote dict object: its owner does not expose it"):
        rig.connect(server).root.take({"key": 1})


def test_nothing_is_logged_for_what_is_no_error(rig: Rig) -> None:
    """The end of each loop, and each question for a missing attribute by copy, left a traceback in the server's log."""
    text = io.StringIO()
    logger = logging.Logger("quiet", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(text))
    root = rig.connect(rig.serve(Things, {"logger": logger, "allow_pickle": True}), allow_pickle=True).root
    assert list(root.dict()) == ["a"] and copy.deepcopy(root.dict()) == {"a": 1}
    assert not isinstance(root, int)
    assert "StopIteration" not in text.getvalue() and "Traceback" not in text.getvalue()


def test_a_class_without_a_module(rig: Rig, classic: Any) -> None:
    """Objects whose class does not say where it is from could not be sent."""
    made = classic.eval("type('Made', (int,), {})(2)")
    assert made + 1 == 3 and isinstance(made, object) and type(made).__name__ == "None.Made"
    with pytest.raises(Exception, match="an error without home"):
        classic.execute("raise type('Failure', (Exception,), {})('an error without home')")


def test_a_local_class_with_a_remote_base(rig: Rig, classic: Any) -> None:
    """`'str' object has no attribute '____conn__'`: it is not possible, and the error has to say so."""
    classic.execute("class Base: pass")
    with pytest.raises(TypeError, match="a remote class can't be a base of the local class 'Derived'"):
        types.new_class("Derived", (classic.namespace["Base"],), {"metaclass": type(classic.namespace["Base"])})


# --------------------------------------------------------------------------------------------------------- classic mode


def test_rpyc_over_rpyc(rig: Rig, classic: Any) -> None:
    """A classic connection that is made over a classic connection ended, or failed with ModuleNotFoundError."""
    far = rig.serve(SlaveService)
    nested = classic.modules.rpyc.classic.connect("127.0.0.1", far.port)
    assert nested.modules.os.sep == "/" and nested.eval("6 * 7") == 42 and isinstance(nested.builtins.list([1]), list)
    with pytest.raises(AttributeError, match="nothing_there"):
        nested.modules.nothing_there
    nested.close()


def test_modules_that_are_not_there(rig: Rig, classic: Any) -> None:
    """`name in conn.modules` raised ModuleNotFoundError."""
    assert "nothing_there" not in classic.modules and "json" in classic.modules and not hasattr(classic.modules, "nothing_there")


def test_remote_modules_in_the_place_of_local_ones(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy in sys.modules, `from module import name` recursed without end."""
    server = rig.program(SERVER)
    conn = rpyc.classic.connect("127.0.0.1", int(server.line()))
    rig.on_end(close_quietly, conn)
    (tmp_path / "uses_fractions.py").write_text("from fractions import Fraction\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "fractions", conn.modules["fractions"])
    monkeypatch.delitem(sys.modules, "uses_fractions", raising=False)
    assert importlib.import_module("uses_fractions").Fraction(1, 2) + 1 == conn.modules.fractions.Fraction(3, 2)
    # And the converse: a module of this side in the place of the other's.
    mine: Any = types.ModuleType("mine")
    mine.answer = lambda: 42
    conn.modules.sys.modules["mine"] = mine
    assert conn.eval("__import__('mine').answer()") == 42 and conn.modules.sys.modules["mine"] is mine


def test_remote_context_managers_see_what_was_raised(rig: Rig, classic: Any) -> None:
    """Within `with remote:`, each exception was a TypeError for the context manager: none could be handled."""
    classic.execute("""if True:
        import contextlib
        @contextlib.contextmanager
        def swallow():
            try:
                yield 5
            except ZeroDivisionError:
                pass
    """)
    with classic.namespace["swallow"]() as value:
        1 / (value - 5)
    with pytest.raises(KeyError, match="mine"), classic.namespace["swallow"]():
        raise KeyError("mine")


def test_exit_and_ctrl_c_of_the_other_side(rig: Rig) -> None:
    """After `sys.exit()` or Ctrl-C in a remote call it was unclear whether the connection is still good."""
    server = rig.program(SERVER)
    conn = rpyc.classic.connect("127.0.0.1", port := int(server.line()))
    with pytest.raises(SystemExit):
        conn.execute("import sys; sys.exit(3)")
    assert conn.eval("1") == 1
    with pytest.raises(EOFError):
        conn.execute("raise KeyboardInterrupt")
    again = rpyc.classic.connect("127.0.0.1", port)
    assert again.eval("1") == 1
    with pytest.raises(EOFError, match="closed by peer|lost"):
        again.modules.os._exit(3)
    with contextlib.suppress(EOFError):
        again.close()
