"""Functions as plain values, so that they can run in another interpreter.

:func:`export_function` takes a function apart into values that travel by
themselves, :func:`import_function` puts it together again. The bytecode goes
as it is, so both interpreters must be of the same Python version.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from rpyc.core import brine
from rpyc.core.netref import BaseNetref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Marks a nested code object among the constants of an exported one.
CODEOBJ_MAGIC = "MAg1c J0hNNzo0hn ZqhuBP17LQk8"
#: Length in bytes of an instruction with argument before Python 3.6.
CODE_HAVEARG_SIZE = 3

# What the constructor of a code object takes, in order. Python 3.11 added the
# two names in _SINCE_311; before 3.8 there was no posonlyargcount.
_FIELDS_311 = (
    "argcount",
    "posonlyargcount",
    "kwonlyargcount",
    "nlocals",
    "stacksize",
    "flags",
    "code",
    "consts",
    "names",
    "varnames",
    "filename",
    "name",
    "qualname",
    "firstlineno",
    "linetable",
    "exceptiontable",
    "freevars",
    "cellvars",
)
_SINCE_311 = ("qualname", "exceptiontable")
_FIELDS_38 = tuple(name for name in _FIELDS_311 if name not in _SINCE_311)
_FIELDS_37 = tuple(name for name in _FIELDS_38 if name != "posonlyargcount")
_LAYOUTS = {len(fields): fields for fields in (_FIELDS_311, _FIELDS_38, _FIELDS_37)}
_OWN_FIELDS = _FIELDS_311 if sys.version_info >= (3, 11) else _FIELDS_38


def export_function(func: Callable[..., Any]) -> tuple[Any, ...]:
    """Take a Python function apart.

    :returns: ``(name, module, defaults, kwdefaults, code)``, all plain values:
        the defaults are a tuple or ``None``, the keyword defaults a tuple of
        pairs or ``None``, the code is the tuple of arguments that this Python's
        code constructor takes.
    :raises TypeError: it has a closure, or a default or constant that is no
        plain value.
    :raises AttributeError: it is not a Python function.
    """
    function: Any = func
    name = function.__name__
    code = _export_codeobj(function.__code__)
    if function.__closure__:
        raise TypeError(f"cannot export {name!r}: it has a closure")
    defaults = function.__defaults__
    kwdefaults = tuple(function.__kwdefaults__.items()) if function.__kwdefaults__ else None
    for value in (*(defaults or ()), *(kwdefaults or ())):
        _require_plain(value, f"cannot export {name!r}: the default value {value!r}")
    return name, function.__module__, defaults, kwdefaults, code


def import_function(
    functup: tuple[Any, ...], globals: Any = None, def_: bool = True
) -> FunctionType:
    """Put an exported function together again.

    :param functup: what :func:`export_function` returned.
    :param globals: the function's globals; a proxy is fetched by value. By
        default those of the module it comes from, or of ``__main__`` if that
        module does not exist here.
    :param def_: also store the function in its globals, under its name.
    :raises ValueError: the code is of an unknown layout.
    """
    name, module_name, defaults, kwdefaults, codetup = functup
    if globals is None:
        globals = _module_globals(module_name)
    elif isinstance(globals, BaseNetref):
        # Not at import time: that module imports this one.
        from rpyc.utils._values import obtain

        globals = obtain(globals)
    globals.setdefault("__builtins__", __builtins__)
    func = FunctionType(_import_codetup(codetup), globals, name, defaults)
    if kwdefaults is not None:
        func.__kwdefaults__ = dict(kwdefaults)
    if def_:
        globals[name] = func
    return func


def decode_codeobj(codeobj: CodeType) -> Iterator[tuple[str, Any]]:
    """Yield each instruction of a code object: its name and resolved argument."""
    import dis

    for instruction in dis.get_instructions(codeobj):
        yield instruction.opname, instruction.argval


def _export_codeobj(cobj: CodeType) -> tuple[Any, ...]:
    """Return the arguments that would make an equal code object, as plain values."""
    values = {field: getattr(cobj, f"co_{field}") for field in _OWN_FIELDS}
    values["consts"] = tuple(_export_constant(value, cobj.co_name) for value in cobj.co_consts)
    return tuple(values.values())


def _export_constant(value: object, owner: str) -> object:
    if isinstance(value, CodeType):
        return CODEOBJ_MAGIC, _export_codeobj(value)
    _require_plain(value, f"cannot export {owner!r}: the constant {value!r}")
    return value


def _import_codetup(codetup: tuple[Any, ...]) -> CodeType:
    """Make a code object of exported arguments, of this Python's layout or an older one."""
    fields = _LAYOUTS.get(len(codetup))
    if fields is None:
        known = ", ".join(map(str, sorted(_LAYOUTS)))
        raise ValueError(f"cannot import a code object of {len(codetup)} items; known are {known}")
    values = dict(zip(fields, codetup, strict=True))
    values["consts"] = tuple(map(_import_constant, values["consts"]))
    values.setdefault("posonlyargcount", 0)
    values.setdefault("qualname", values["name"])
    values.setdefault("exceptiontable", b"")
    return CodeType(*(values[field] for field in _OWN_FIELDS))


def _import_constant(value: Any) -> Any:
    if isinstance(value, tuple) and len(value) == 2 and value[0] == CODEOBJ_MAGIC:
        return _import_codetup(value[1])
    return value


def _module_globals(name: str | None) -> dict[str, Any]:
    try:
        return vars(import_module(name or "__main__"))
    except ImportError:
        return vars(import_module("__main__"))


def _require_plain(value: object, what: str) -> None:
    if not brine.dumpable(value):
        raise TypeError(f"{what} is no plain value")
