"""Modules that are imported when a program first asks for them.

``import rpyc`` promises more names than most programs use. Those whose modules bring much along,
such as the servers, cost nothing until they are used (PEP 562).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping

HOMES: set[str] = set()
"""The modules that are imported at their first use: for programs, ``import rpyc`` has imported them."""


def lazily(
    module: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a module.

    ``homes`` says for each name which module has it; a name that is the last part of its home is
    that module itself. A name becomes an ordinary global of ``module`` at its first use.
    """
    HOMES.update(homes.values())

    def find(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found: object = importlib.import_module(home)
        if home.rpartition(".")[2] != name:
            found = getattr(found, name)
        # Another thread, or a program that replaces the name, may have been quicker.
        return vars(sys.modules[module]).setdefault(name, found)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return find, names
