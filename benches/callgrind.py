"""Instructions of a process, by the shared object that executes them, between two moments.

Valgrind runs the process and counts. ``vgdb`` asks it to write down what it counted, and to start from zero. So one
process is started once, and counted as often as one likes.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

DUMP_TIMEOUT = 30.0
"""Seconds that a dump may take."""


def command(out: Path) -> list[str]:
    """The words that go before a command whose instructions are to be counted."""
    return ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]


def take(pid: int, out: Path) -> Counter[str]:
    """Instructions by the path of the object, since the last time. The process must be idle."""
    before = dumps(out)
    words = ["vgdb", f"--pid={pid}", "--wait=10", "dump"]
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=DUMP_TIMEOUT)
    (fresh,) = dumps(out) - before
    return parse(fresh)


def dumps(out: Path) -> set[Path]:
    """The files written so far."""
    return set(out.parent.glob(f"{out.name}.*"))


def parse(path: Path) -> Counter[str]:
    """Sums the own costs in a file of callgrind's format by object.

    ``ob=(ID) NAME`` or ``ob=(ID)`` names the object of the lines that follow; a line of costs is a position and a number.
    The line after ``calls=`` is what the callee cost: it is in the callee's own lines, too.
    """
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    current = "?"
    skip = False
    with path.open() as lines:
        for line in lines:
            first = line[:1]
            if first.isdigit() or first in "+-*":
                if not skip:
                    fields = line.split()
                    costs[current] += int(fields[1]) if len(fields) > 1 else 0
                skip = False
            elif line.startswith(("ob=", "cob=")):
                kind, _, rest = line.strip().partition("=")
                number, _, name = rest.partition(" ")
                if name:
                    names[number] = name
                if kind == "ob":
                    current = names[number]
            elif line.startswith("calls="):
                skip = True
    return costs
