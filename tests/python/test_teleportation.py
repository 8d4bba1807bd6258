"""Functions that run in another interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, close_quietly

import rpyc
from rpyc.core import brine
from rpyc.utils import classic, teleportation
from rpyc.utils.teleportation import CODEOBJ_MAGIC, export_function, import_function


def again(function: Callable[..., Any], globals: Any = None) -> Any:
    """Export, put on the wire, take off it, import."""
    return import_function(
        brine.load(brine.dump(export_function(function))), {} if globals is None else globals
    )


# ------------------------------------------------------------------- the functions


def simple(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> Any:
    """Add up."""
    return a + b + sum(rest) + c + sum(more.values())


def positional(a: int, /, b: int) -> int:
    return a * 10 + b


def nested(start: int) -> Any:
    step = 10

    def inner(value: int) -> int:
        return start + step * value

    class Local:
        total = [inner(number) for number in range(3)]

    return Local.total


def generating(upto: int) -> Any:
    yield from (number * number for number in range(upto))


def handling(divisor: int) -> Any:
    try:
        return 1 / divisor
    except ZeroDivisionError as exc:
        return str(exc)
    finally:
        divisor = 0


async def coroutine() -> int:
    return 5


def constants() -> Any:
    return (1, 2.5, None, ..., b"x", "ü", (1, (2,)), 3j, -(10**30)), 1 in {1, 2, 3}


def uses_module() -> Any:
    import os

    return os.getpid()


def asks_globals() -> Any:
    return answer  # type: ignore[name-defined]  # noqa: F821 (a global of where it runs)


def test_a_function_survives() -> None:
    copy = again(simple, {"__name__": "elsewhere"})
    assert copy is not simple
    for args, kwargs in (((1,), {}), ((1, 5, 6, 7), {}), ((1,), {"c": 9, "d": 4})):
        assert copy(*args, **kwargs) == simple(*args, **kwargs)
    assert (copy.__name__, copy.__module__, copy.__defaults__, copy.__kwdefaults__) == (
        "simple",
        "elsewhere",
        (2,),
        {"c": 3},
    )
    assert again(positional)(1, 2) == 12
    with pytest.raises(TypeError, match="positional-only"):
        again(positional)(a=1, b=2)


@pytest.mark.parametrize(
    "function",
    [nested, generating, handling, constants, handling],
    ids=lambda function: function.__name__,
)
def test_what_a_function_is_made_of_survives(function: Any) -> None:
    args = () if function is constants else (0,) if function is handling else (4,)
    mine, theirs = function(*args), again(function)(*args)
    assert theirs == mine or list(theirs) == list(mine)


def test_a_coroutine_function_survives() -> None:
    with pytest.raises(StopIteration) as info:
        again(coroutine)().send(None)
    assert info.value.value == 5


def test_tracebacks_still_have_lines() -> None:
    with pytest.raises(TypeError) as info:
        again(simple)("x", 1)
    code = info.traceback[-1].frame.code.raw
    assert (code.co_filename, code.co_firstlineno) == (__file__, simple.__code__.co_firstlineno)
    assert code == simple.__code__


def test_the_exported_form() -> None:
    name, module, defaults, kwdefaults, code = export_function(simple)
    assert (name, module, defaults, kwdefaults) == ("simple", __name__, (2,), (("c", 3),))
    assert len(code) == (18 if sys.version_info >= (3, 11) else 16)
    assert export_function(positional)[2:4] == (None, None)
    markers = [
        item
        for item in export_function(nested)[4][7]
        if isinstance(item, tuple) and item[0] == CODEOBJ_MAGIC
    ]
    assert len(markers) == 2
    assert CODEOBJ_MAGIC == "MAg1c J0hNNzo0hn ZqhuBP17LQk8"


def test_globals() -> None:
    world: dict[str, Any] = {}
    copy = again(asks_globals, world)
    assert world["asks_globals"] is copy
    assert "__builtins__" in world
    with pytest.raises(NameError):
        copy()
    world["answer"] = 42
    assert copy() == 42
    undefined: dict[str, Any] = {}
    import_function(export_function(asks_globals), undefined, def_=False)
    assert "asks_globals" not in undefined


def test_globals_by_default_are_those_of_the_module() -> None:
    exported = export_function(simple)
    copy = import_function(exported, def_=False)
    assert copy.__globals__ is globals()
    lost = import_function((exported[0], "no_such_module", *exported[2:]), def_=False)
    assert lost.__globals__ is vars(sys.modules["__main__"])


def make_closure() -> Any:
    value = 1
    return lambda: value


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (make_closure(), TypeError, "closure"),
        (lambda value=[]: value, TypeError, "default value"),
        (eval("lambda *, value=[]: value"), TypeError, "default value"),
        (len, AttributeError, "__code__"),
    ],
)
def test_what_cannot_be_exported(function: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        export_function(function)


def test_a_constant_that_is_no_plain_value() -> None:
    def fine() -> int:
        return 12345

    fine.__code__ = fine.__code__.replace(
        co_consts=tuple([] if const == 12345 else const for const in fine.__code__.co_consts)
    )
    with pytest.raises(TypeError, match=r"constant \[\]"):
        export_function(fine)


def test_older_forms_are_understood() -> None:
    name, module, defaults, kwdefaults, code = export_function(positional)
    # Python 3.10 makes the older form itself; 3.11 added a qualified name and an exception table.
    older = code if len(code) == 16 else code[:12] + code[13:15] + code[16:]
    oldest = older[:1] + older[2:]
    assert (len(older), len(oldest)) == (16, 15)
    copy = import_function((name, module, defaults, kwdefaults, older), {})
    assert copy(1, 2) == 12
    assert copy.__qualname__ == copy.__name__
    with pytest.raises(TypeError):
        copy(a=1, b=2)
    assert import_function((name, module, defaults, kwdefaults, oldest), {})(a=1, b=2) == 12


def test_unknown_forms_are_refused() -> None:
    name, module, defaults, kwdefaults, code = export_function(positional)
    with pytest.raises(ValueError, match="17 items"):
        import_function((name, module, defaults, kwdefaults, (code * 2)[:17]), {})


def test_code_objects_can_be_read() -> None:
    decoded = list(teleportation.decode_codeobj(positional.__code__))
    assert all(isinstance(name, str) for name, _ in decoded)
    assert 10 in [argument for _, argument in decoded]


# --------------------------------------------------------------------- teleporting


@pytest.fixture
def conn(leak_check: None) -> Iterator[Any]:
    """A classic connection to another process."""
    conn = classic.connect_subproc(str(Path(rpyc.__file__).parent / "cli" / "rpyc_classic.py"))
    yield conn
    close_quietly(conn)
    conn.proc.wait(PATIENCE)


def test_a_function_runs_over_there(conn: Any) -> None:
    remote = conn.teleport(uses_module)
    assert remote() == conn.proc.pid
    assert uses_module() != conn.proc.pid
    assert classic.teleport_function(conn, simple)(1, c=4) == 7


def test_teleported_functions_find_each_other(conn: Any) -> None:
    remote = conn.teleport(asks_globals)
    with pytest.raises(NameError):
        remote()
    conn.namespace["answer"] = 42
    assert remote() == 42
    assert conn.eval("asks_globals()") == 42
    conn.teleport(simple, def_=False)
    with pytest.raises(NameError):
        conn.eval("simple")


def test_other_globals(conn: Any) -> None:
    conn.execute("world = {'answer': 7}")
    remote = conn.teleport(asks_globals, conn.namespace["world"])
    assert remote() == 7
    assert conn.eval("'asks_globals' in world")
    assert not conn.eval("'asks_globals' in globals()")


def test_foreign_bytecode_is_refused(conn: Any) -> None:
    conn.execute(
        "import importlib.util, platform\n"
        "importlib.util.MAGIC_NUMBER = b'old\\r'\n"
        "platform.python_version = lambda: '2.2.0'\n"
    )
    here = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(TypeError, match=f"cannot teleport 'simple'.*CPython {here}.*CPython 2.2.0"):
        conn.teleport(simple)
