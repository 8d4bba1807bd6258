"""Compares the Python interface of this package with that of RPyC 6.0.2, as both are installed.

    python tools/parity.py            write docs/parity.md
    python tools/parity.py --check    report what nobody has accounted for, and an outdated table; exit code 1 then

Run it with the interpreter that has this package. The other one is named by RPYC_RIVAL_PYTHON (default
`.venv-rival/bin/python`).

Both packages are described by the same program, `interface.py`, from outside: names, kinds, signatures, values. What
differs must be in tests/parity-differences.toml, with its reason; an entry that applies to nothing is an error too.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import fnmatch
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from interface import LISTED, LISTED_MEMBERS, Name

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "parity.md"
DIFFERENCES = ROOT / "tests" / "parity-differences.toml"
DUMP_TIMEOUT = 60.0
"""Seconds; a dump takes under one."""

WIDTH = 100
"""Characters of a value in the table. What is longer is cut there, unless it differs; it is compared in full."""


class ParityError(Exception):
    """The comparison is not possible."""


def main() -> int:
    """Writes the table, or checks; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="report what is not accounted for, write nothing")
    options = parser.parse_args()
    try:
        rows, complaints = examine()
    except ParityError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    if not options.check:
        TABLE.write_text(render(rows), encoding="utf-8")
    elif not TABLE.exists() or TABLE.read_text(encoding="utf-8") != render(rows):
        complaints.append(f"{TABLE.name} is out of date: run this program without --check")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


@dataclasses.dataclass
class Row:
    """One line of the table. `verdict` is "same", "extra", "differs" or "missing"; the reason is in the list."""

    path: str
    module: str
    theirs: Name | None
    ours: Name | None
    verdict: str
    reason: str = ""


def examine() -> tuple[list[Row], list[str]]:
    """Compare the two packages: the rows of the table, and what nobody has accounted for, one line each.

    Raises `ParityError` if an interpreter or its package is not what it should be.
    """
    ours = describe(sys.executable)
    theirs = describe(os.environ.get("RPYC_RIVAL_PYTHON") or str(ROOT / ".venv-rival" / "bin" / "python"))
    if not ours["native"] or theirs["native"]:
        raise ParityError(f"expected this package at {ours['where']}, and RPyC at {theirs['where']}")
    rows = compare(theirs["names"], ours["names"])
    return rows, account(rows) + _unknown(theirs["names"])


def describe(python: str) -> dict[str, Any]:
    """What interface.py says under that interpreter, with `Name`s for names. ParityError if it fails."""
    # Isolated: nothing but the interpreter's own packages; and the defaults, whatever this machine has set.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RPYC_")}
    command = [python, "-I", str(ROOT / "tools" / "interface.py")]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=DUMP_TIMEOUT, check=True)
    except OSError as error:
        raise ParityError(f"{python} does not start: {error}; run `make rival`, or set RPYC_RIVAL_PYTHON") from None
    except subprocess.CalledProcessError as error:
        raise ParityError(f"the dump under {python} failed:\n{error.stderr.decode()}") from None
    except subprocess.TimeoutExpired:
        raise ParityError(f"the dump under {python} took over {DUMP_TIMEOUT:.0f} s") from None
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
        if their is None and known[0].kind == "special method":
            continue
        if their is not None and our is not None:
            # Classes in between are the implementation's business.
            our.bases = [base for base in our.bases if base in their.bases]
        rows.append(Row(path, known[0].module, their, our, _verdict(their, our)))
    return sorted(rows, key=lambda row: (row.module, row.path))


def _verdict(their: Name | None, our: Name | None) -> str:
    if our is None:
        return "missing"
    if their is None:
        return "extra"
    merely_imported = their.kind == "module" and their.value
    if their.counts and their.starred and not our.starred and not merely_imported:
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


def _unknown(theirs: dict[str, Name]) -> list[str]:
    """Complaints about what interface.py lists, and does not exist."""
    listed = {f"{module}.{key}" for module, keys in LISTED.items() for key in keys}
    members = LISTED_MEMBERS - {path.rpartition(".")[2] for path in theirs}
    return [f"{name}: listed in interface.py, but RPyC has no such name" for name in sorted(listed - theirs.keys() | members)]


def _differences() -> list[dict[str, Any]]:
    # Python 3.10 has no parser of its own; pytest brings one.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    found: list[dict[str, Any]] = toml.loads(DIFFERENCES.read_text(encoding="utf-8"))["difference"]
    return found


def render(rows: list[Row]) -> str:
    """The table as Markdown."""
    counts = collections.Counter(row.verdict for row in rows)
    lines = [
        "# Parity with RPyC 6.0.2",
        "",
        "Made by `tools/parity.py` from the two installed packages; do not edit. The rule for what counts is at the top of",
        "`tools/interface.py`. An empty cell under *here* means: the same. *extra* is what this package adds: a name, or",
        "optional parameters. The reasons come from `tests/parity-differences.toml`; [differences.md](differences.md) is",
        "the same for behaviour.",
        "",
        f"{len(rows)} names: {counts['same']} same, {counts['extra']} extra, {counts['differs']} differ, "
        f"{counts['missing']} missing.",
    ]
    for module in dict.fromkeys(row.module for row in rows):
        lines += ["", f"## {module}", "", "| name | kind | in 6.0.2 | here | verdict |", "|---|---|---|---|---|"]
        for row in rows:
            if row.module == module:
                lines.append(_line(row))
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    kind = (row.theirs or row.ours or Name("", "")).kind
    name = row.path.removeprefix(f"{row.module}.")
    if row.verdict == "same":
        return f"| `{name}` | {kind} | {_cell(row.theirs, kind, WIDTH)} | | same |"
    # A signature whole; it is the end that differs.
    width = 3 * WIDTH
    theirs, ours = _cell(row.theirs, kind, width), _cell(row.ours, kind, width)
    return f"| `{name}` | {kind} | {theirs} | {ours} | {row.verdict}: {row.reason} |"


def _cell(name: Name | None, kind: str, width: int) -> str:
    if name is None:
        return "-"
    text = name.text().strip()
    text = text if len(text) <= width else text[: width - 3] + "..."
    text = "`" + text.replace("|", "\\|") + "`" if text else "yes"
    return text if name.kind == kind else f"{name.kind} {text}"


if __name__ == "__main__":
    sys.exit(main())
