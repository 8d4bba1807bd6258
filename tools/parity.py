"""Compares the Python interface of this package with that of RPyC 6.0.2, as both are installed.

    python tools/parity.py            write docs/parity.md
    python tools/parity.py --check    report what nobody has accounted for; exit code 1 if there is anything
    python tools/parity.py --dump     describe the package that this interpreter imports, as JSON

Run it with the interpreter that has this package. The other one is named by RPYC_RIVAL_PYTHON (default
`.venv-rival/bin/python`), and must be of the same Python version: signatures of inherited methods depend on it.

Both packages are described by the same program, from outside: names, kinds, signatures, values. What differs must be in
tests/parity-differences.toml, with its reason; an entry that applies to nothing is an error too.

# What counts

A public name counts in the module whose `__all__` has it, or, in a module without `__all__`, if it is defined there.
A constant is defined in the first module, in the order of MODULES, that holds it. Names that docs/api.md lists count
wherever it lists them: re-exports, and the semi-private names that programs use. So what a module merely imports, and
its own helpers, do not count. Attributes of instances are read from specimens that are built for it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fnmatch
import importlib
import importlib.util
import inspect
import json
import os
import re
import socket
import struct
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "parity.md"
DIFFERENCES = ROOT / "tests" / "parity-differences.toml"
DUMP_TIMEOUT = 60.0
"""Seconds; a dump takes under one."""

# Those that others import from come first, so that a shared object is described where it is at home.
MODULES = (
    "rpyc.version", "rpyc.lib.compat", "rpyc.lib", "rpyc.lib.colls", "rpyc.core.consts", "rpyc.core.brine",
    "rpyc.core.stream", "rpyc.core.channel", "rpyc.core.vinegar", "rpyc.core.async_", "rpyc.core.netref",
    "rpyc.core.protocol", "rpyc.core.service", "rpyc.core", "rpyc.utils", "rpyc.utils.authenticators",
    "rpyc.utils.registry", "rpyc.utils.factory", "rpyc.utils.helpers", "rpyc.utils.server", "rpyc.utils.teleportation",
    "rpyc.utils.classic", "rpyc.utils.zerodeploy", "rpyc.cli.rpyc_classic", "rpyc.cli.rpyc_registry", "rpyc",
)  # fmt: skip

# The names of docs/api.md that the rule for public names leaves out.
LISTED = {
    "rpyc": """__author__ __version__ async SocketStream TunneledSocketStream PipeStream Channel Connection Service
        BaseNetref AsyncResult GenericException AsyncResultTimeout VoidService SlaveService MasterService ClassicService
        connect_stream connect_channel connect_pipes connect_stdpipes connect ssl_connect list_services discover
        connect_by_service connect_subproc connect_thread ssh_connect async_ timed buffiter BgServingThread restricted
        classic exposed service setup_logger spawn OneShotServer ThreadedServer ThreadPoolServer ForkingServer cli
        core lib utils version""",
    "rpyc.core": """SocketStream TunneledSocketStream PipeStream Channel Connection DEFAULT_CONFIG BaseNetref
        AsyncResult AsyncResultTimeout Service VoidService SlaveService MasterService ClassicService GenericException
        async_ brine channel consts netref protocol service stream vinegar""",
    "rpyc.core.async_": "AsyncResultTimeout",
    "rpyc.core.brine": "_dump _load _dump_registry _load_registry",
    "rpyc.core.netref": """_make_method _builtin_types _normalized_builtin_types pickle consts get_id_pack""",
    "rpyc.core.protocol": "get_id_pack",
    "rpyc.core.vinegar": """_generic_exceptions_cache _exception_classes_cache _get_exception_class
        exceptions_module""",
    "rpyc.lib": "colls compat SPAWN_THREAD_PREFIX maxint",
    "rpyc.lib.compat": """pickle execute Struct BytesIO poll select select_error TimeoutError maxint callable next""",
    "rpyc.utils": "authenticators classic factory helpers registry server",
    "rpyc.utils.classic": "SlaveService factory teleport_function",
    "rpyc.utils.factory": "_get_free_port _server _ssh_connect_lock",
    "rpyc.utils.helpers": "_Async async syncreq asyncreq HANDLE_BUFFITER HANDLE_CALL",
    "rpyc.utils.teleportation": "_export_codeobj _import_codetup CODEOBJ_MAGIC CODE_HAVEARG_SIZE decode_codeobj",
    "rpyc.utils.zerodeploy": "TimeoutExpired",
}

# Likewise for members of classes; every `_handle_*` counts too.
LISTED_MEMBERS = frozenset(
    """_conn _is_ready _is_exc _callbacks _obj _ttl _config _channel _local_root _remote_root _local_objects
    _proxy_cache _netref_classes_cache _request_callbacks _HANDLERS _last_traceback _recvlock _sendlock _recv_event
    _send_queue _seqcounter _closed _bind_threads _threads _box _unbox _box_exc _unbox_exc _netref_factory _send
    _dispatch _dispatch_request _seq_request_callback _async_request _get_seq_id _cleanup _check_attr _access_attr
    _request_handlers _protocol _rpyc_getattr _rpyc_setattr _rpyc_delattr _connect _install _dict _listen _register
    _start_in_thread _accept_method _authenticate_and_serve_client _serve_client _handle_connection _bg_register
    _active_connection_queue""".split()
)

# Special attributes that say how a class was written, not what it can do. The constructor is part of the class's row.
BOILERPLATE = frozenset(
    """__module__ __doc__ __dict__ __weakref__ __slots__ __qualname__ __annotations__ __init__ __new__ __orig_bases__
    __parameters__ __init_subclass__ __static_attributes__ __firstlineno__ __abstractmethods__ __class_getitem__
    __annotate_func__ __annotations_cache__""".split()
)


@dataclass
class Name:
    """What is known of one name: its kind; its parameters, if it is called; its value, type or home."""

    module: str
    kind: str
    value: str = ""
    parameters: list[str] | None = None
    bases: list[str] | None = None
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
        if None in (mine := self.parameters, theirs := other.parameters) or self.bases != other.bases:
            return False
        more = mine[len(theirs) :]
        return mine[: len(theirs)] == theirs and all("=" in name or name.startswith("*") for name in more)


def main() -> int:
    """Writes the table, or checks; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="report what is not accounted for, write nothing")
    parser.add_argument("--dump", action="store_true", help="describe the package that is installed here, as JSON")
    options = parser.parse_args()
    if options.dump:
        json.dump(dump(), sys.stdout)
        return 0
    rows, complaints = examine()
    if not options.check:
        TABLE.write_text(render(rows), encoding="utf-8")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


# Comparing.


@dataclass
class Row:
    """One line of the table. `verdict` is "same", "extra", "differs" or "missing"; the reason is in the list."""

    path: str
    module: str
    theirs: Name | None
    ours: Name | None
    verdict: str
    reason: str = ""


def examine() -> tuple[list[Row], list[str]]:
    """Compare the two packages: the rows of the table, and what is wrong with them, one line each."""
    ours = describe(sys.executable)
    theirs = describe(os.environ.get("RPYC_RIVAL_PYTHON") or str(ROOT / ".venv-rival" / "bin" / "python"))
    if not ours["native"] or theirs["native"]:
        raise SystemExit(f"parity: expected this package at {ours['where']}, and RPyC at {theirs['where']}")
    if ours["python"] != theirs["python"]:
        raise SystemExit(f"parity: Python {ours['python']} here, {theirs['python']} there: use the same one")
    rows = compare(theirs["names"], ours["names"])
    return rows, account(rows)


def describe(python: str) -> dict[str, Any]:
    """What `dump` says under that interpreter, with `Name`s for names. SystemExit if it fails."""
    # Isolated: nothing but the interpreter's own packages; and the defaults, whatever this machine has set.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RPYC_")}
    command = [python, "-I", str(Path(__file__).resolve()), "--dump"]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=DUMP_TIMEOUT, check=True)
    except OSError as error:
        raise SystemExit(f"parity: {python} does not start: {error}; run `make rival`, or set RPYC_RIVAL_PYTHON") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"parity: the dump under {python} failed:\n{error.stderr.decode()}") from None
    except subprocess.TimeoutExpired:
        raise SystemExit(f"parity: the dump under {python} took over {DUMP_TIMEOUT:.0f} s") from None
    found: dict[str, Any] = json.loads(done.stdout)
    found["names"] = {path: Name(**fields) for path, fields in found["names"].items()}
    return found


def compare(theirs: dict[str, Name], ours: dict[str, Name]) -> list[Row]:
    """One row for each name that counts on either side; no rows for what is inside of something that one side lacks."""
    rows = []
    for path in theirs.keys() | ours.keys():
        their, our = theirs.get(path), ours.get(path)
        known = [name for name in (their, our) if name is not None]
        parent = path.rpartition(".")[0]
        if not any(name.counts for name in known) or (parent in theirs) != (parent in ours):
            continue
        if their is not None and our is not None:
            # Classes in between are the implementation's business.
            our.bases = [base for base in our.bases or () if base in (their.bases or ())]
        rows.append(Row(path, known[0].module, their, our, _verdict(their, our)))
    return sorted(rows, key=lambda row: (row.module, row.path))


def _verdict(their: Name | None, our: Name | None) -> str:
    if our is None:
        return "missing"
    if their is None:
        return "extra"
    if their.counts and their.starred and not our.starred:
        our.value += " (not by import *)"
    if (their.kind, their.text()) == (our.kind, our.text()):
        return "same"
    return "extra" if their.kind == our.kind and our.accepts(their) else "differs"


def account(rows: list[Row]) -> list[str]:
    """Give each row that is not the same its reason, and return complaints about the list of differences."""
    complaints = []
    for entry in _differences():
        for pattern in entry["names"]:
            matches = [row for row in rows if row.verdict != "same" and fnmatch.fnmatchcase(row.path, pattern)]
            if not matches:
                complaints.append(f"{DIFFERENCES.name}: {pattern} matches no difference; remove it")
            for row in matches:
                row.reason = row.reason or entry["reason"]
    for row in rows:
        if row.verdict != "same" and not row.reason:
            theirs, ours = (name and f"{name.kind} {name.text()}" for name in (row.theirs, row.ours))
            complaints.append(f"{row.path}: {row.verdict}, RPyC: {theirs}, here: {ours}; not in {DIFFERENCES.name}")
    return complaints


def _differences() -> list[dict[str, Any]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pytest brings it
    found: list[dict[str, Any]] = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))["difference"]
    return found


def render(rows: list[Row]) -> str:
    """The table as Markdown."""
    counts = collections.Counter(row.verdict for row in rows)
    lines = [
        "# Parity with RPyC 6.0.2",
        "",
        "Made by `tools/parity.py` from the two installed packages (Python " + _python() + "); do not edit. The rule for what counts is",
        "at the top of that program. An empty cell under *here* means: the same. *extra* is what this package adds: a name,",
        "or optional parameters. The reasons come from `tests/parity-differences.toml`.",
        "",
        f"{len(rows)} names: {counts['same']} same, {counts['extra']} extra, {counts['differs']} differ, "
        f"{counts['missing']} missing.",
    ]
    for module in dict.fromkeys(row.module for row in rows):
        lines += ["", f"## {module}", "", "| name | kind | in 6.0.2 | here | verdict |", "|---|---|---|---|---|"]
        for row in rows:
            if row.module == module:
                kind = (row.theirs or row.ours or Name("", "")).kind
                same = row.verdict == "same"
                verdict = row.verdict + (f": {row.reason}" if row.reason else "")
                name = row.path.removeprefix(f"{module}.")
                here = "" if same else _cell(row.ours, kind)
                lines.append(f"| `{name}` | {kind} | {_cell(row.theirs, kind)} | {here} | {verdict} |")
    return "\n".join(lines) + "\n"


def _cell(name: Name | None, kind: str) -> str:
    if name is None:
        return "-"
    text = name.text().strip()
    text = text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
    text = "`" + text.replace("|", "\\|") + "`" if text else "yes"
    return text if name.kind == kind else f"{name.kind} {text}"


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


# Describing what is installed. From here on nothing is known of the other package.


def dump() -> dict[str, Any]:
    """Describe the package `rpyc` of this interpreter."""
    modules = {name: importlib.import_module(name) for name in MODULES}
    names: dict[str, Name] = {}
    homes = _homes(modules)
    with specimens() as instances:
        for path, module in modules.items():
            for name, value in vars(module).items():
                described = _describe(value, f"{path}.{name}", homes)
                counts = _counts(module, name, value, homes)
                starred = name in getattr(module, "__all__", ()) if hasattr(module, "__all__") else name[0] != "_"
                names[f"{path}.{name}"] = Name(path, *described, counts=counts, starred=starred)
