"""What one call costs, in instructions and system calls: figures without noise, compared with recorded ones.

Both ends run under valgrind, then under strace, and do each workload a smaller and a larger number of times; the
difference of the two counts, by the difference of the times, is the price of one. Busy polling is off: how often a wait
asks depends on the moment.

Instructions are counted in two ways. ``engine`` has those inside the extension: the same source and compiler give the
same number on any machine with any Python. ``whole`` has those of the whole process, Python's and the C library's
included, as a part of what a ping-pong over Python's sockets costs in the same interpreter in the same run. Figures
recorded with another compiler (or, for ``whole``, another Python) are shown, and not compared.

Neither valgrind nor strace may be at hand, or permitted; then the counts are left out, and that is said.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import callgrind
import contenders as who
import syscalls
from contenders import ROOT, Contender
from peers import BenchError, Pair, placements, running

RECORD = Path(__file__).with_name("counts.toml")

OUTPUT = ROOT / "bench-results"

TOLERANCE = 1.05
"""A count may grow by so much before it is an error."""

TIMES = {
    "held": (100, 600),
    "method": (100, 600),
    "attribute": (100, 600),
    "async300": (1, 3),
    "batch": (1, 2),
    "list": (1, 3),
}
"""Workloads whose instructions are counted, with both numbers of times."""

CALLS = {"async300": 300, "batch": 5000, "list": 1000}
"""Calls in one time, or items, if not one."""

TRACED = {"held": (50, 2050), "method": (50, 2050)}
"""The same for system calls."""

PATIENCE = 100.0
"""Seconds that a workload may take: valgrind makes it fifty times slower, and the machine may be busy."""

ENGINE = "/rpyc/_rpyc"
"""In the path of the extension, and of nothing else."""

NO_POLLING = ("--config", '{"busy_poll": 0}')
OURS = replace(who.OURS, client_words=NO_POLLING, server_words=NO_POLLING)
PLAIN = replace(who.SOCKET, client=who.OURS_PYTHON, server=who.OURS_PYTHON)

Figures = dict[str, dict[str, float]]
"""Workload -> name of the figure -> value."""


def main() -> int:
    """Counts, writes the report, and compares or records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", metavar="REASON", help="record the figures, because of REASON")
    options = parser.parse_args()
    if options.update is not None and not options.update.strip():
        parser.error('say why the figures change: make counts-update REASON="..."')
    figures: Figures = {workload: {} for workload in TIMES}
    skipped = []
    for tool, count in (("valgrind", instructions), ("strace", traced)):
        try:
            check_tool(tool)
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            skipped.append(f"counts: not counted with {tool}: {getattr(error, 'stderr', None) or error}")
        else:
            count(figures)
    print("\n".join(skipped), file=sys.stderr, end="\n" if skipped else "")
    if options.update is not None:
        if skipped:
            return 1
        record(figures, options.update)
        return 0
    recorded = load()
    OUTPUT.mkdir(exist_ok=True)
    text, grown = compare(figures, recorded)
    (OUTPUT / "counts.md").write_text(text)
    (OUTPUT / "counts.json").write_text(json.dumps({"toolchain": toolchain(), "figures": figures}, indent=1) + "\n")
    print(text)
    for line in grown:
        print(f"counts: {line}", file=sys.stderr)
    if grown:
        print('counts: if that is the price of something: make counts-update REASON="..."', file=sys.stderr)
    return 1 if grown else 0


def check_tool(tool: str) -> None:
    """Raises if a tool is not there, or may not run here. What fails later is a fault of ours."""
    if shutil.which(tool) is None:
        raise BenchError(f"{tool} is not installed (Debian: apt-get install {tool})")
    subprocess.run([tool, "true"], check=True, capture_output=True, text=True, timeout=PATIENCE)


def instructions(figures: Figures) -> None:
    """Fills in the instructions of one call."""
    plain = counted(PLAIN, {"held": TIMES["held"]})["held"]
    for workload, ends in counted(OURS, TIMES).items():
        for end, objects in ends.items():
            engine = sum(count for name, count in objects.items() if ENGINE in name)
            if not engine:
                raise BenchError(f"no instructions in {ENGINE} among {sorted(objects)}")
            figures[workload][f"{end}_engine"] = round(engine, 1)
            figures[workload][f"{end}_whole"] = round(sum(objects.values()) / sum(plain[end].values()), 4)


def counted(
    contender: Contender, plan: dict[str, tuple[int, int]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Workload -> end -> object -> instructions of one call."""
    prices: dict[str, dict[str, dict[str, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rpyc-counts-")))
        outs = {end: folder / end for end in ("server", "client")}
        prefixes = (callgrind.command(outs["server"]), callgrind.command(outs["client"]))
        pair = stack.enter_context(running(contender, "tcp", placements()["free"], folder, prefixes=prefixes))
        pids = {"server": pair.server.pid, "client": pair.client.pid}

        def after(workload: str, times: int) -> dict[str, Counter[str]]:
            ask(pair, workload, times)
            return {end: callgrind.take(pid, outs[end]) for end, pid in pids.items()}

        for workload, (few, many) in plan.items():
            after(workload, few)
            less, more = after(workload, few), after(workload, many)
            calls = (many - few) * CALLS.get(workload, 1)
            prices[workload] = {
                end: {name: (more[end][name] - less[end][name]) / calls for name in more[end]} for end in pids
            }
    return prices


def traced(figures: Figures) -> None:
    """Fills in the system calls of one call."""
    for workload, (few, many) in TRACED.items():
        less, more = (trace(workload, times) for times in (few, many))
        for end in ("client", "server"):
            price = {name: (more[end][name] - less[end][name]) / (many - few) for name in more[end]}
            for kind, names in (("sends", syscalls.SENDS), ("receives", syscalls.RECEIVES)):
                figures[workload][f"{end}_{kind}"] = round(sum(price.get(name, 0.0) for name in names), 2)
            figures[workload][f"{end}_syscalls"] = round(sum(price.values()), 2)


def trace(workload: str, times: int) -> dict[str, Counter[str]]:
    """End -> name -> system calls of a whole life with so many calls."""
    with tempfile.TemporaryDirectory(prefix="rpyc-counts-") as folder:
        outs = {end: Path(folder) / end for end in ("server", "client")}
        prefixes = (syscalls.command(outs["server"]), syscalls.command(outs["client"]))
        with running(OURS, "tcp", placements()["free"], Path(folder), prefixes=prefixes) as pair:
            ask(pair, workload, 10)
            ask(pair, workload, times)
        return {end: syscalls.parse(out) for end, out in outs.items()}


def ask(pair: Pair, workload: str, times: int) -> dict[str, Any]:
    """Lets the client do a workload."""
    return pair.ask(json.dumps({"workload": workload, "times": times}), PATIENCE)


def compare(figures: Figures, recorded: dict[str, Any]) -> tuple[str, list[str]]:
    """The report, and what has grown too much."""
    here = toolchain()
    lines = [
        "## Instructions and system calls of one call",
        "",
        f"Busy polling off. Engine: instructions inside the extension, built by {here['compiler']}. Whole: instructions "
        "of the process, as a multiple of a ping-pong over Python's sockets. Recorded: "
        f"{recorded.get('reason', 'nothing')}",
        "",
        "| workload | figure | now | recorded | change |",
        "|---|---|---:|---:|---:|",
    ]
    grown = []
    for workload, values in figures.items():
        for name, value in values.items():
            old = recorded.get(workload, {}).get(name)
            if old is None:
                lines.append(f"| {workload} | {name} | {value:,g} | - | - |")
                grown.append(f"{workload} {name} is {value:,g}, and no figure is recorded")
                continue
            change = value / old - 1 if old else 0.0
            lines.append(f"| {workload} | {name} | {value:,g} | {old:,g} | {change:+.1%} |")
            if value > old * TOLERANCE and comparable(name, here, recorded):
                grown.append(f"{workload} {name} grew from {old:,g} to {value:,g} ({change:+.1%})")
    return "\n".join(lines) + "\n", grown


def comparable(name: str, here: dict[str, str], recorded: dict[str, Any]) -> bool:
    """Whether figures of that name mean the same here as where they were recorded."""
    if name.endswith("_engine"):
        return here["compiler"] == recorded.get("compiler")
    if name.endswith("_whole"):
        return all(recorded.get(key) == value for key, value in here.items())
    return True


def toolchain() -> dict[str, str]:
    """What the figures depend on beside the source."""
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True, timeout=30)
    return {
        "compiler": f"{rustc.stdout.strip()}, {platform.machine()}",
        "python": f"{sys.version} {' '.join(platform.libc_ver())}".replace("\n", " "),
    }


def load() -> dict[str, Any]:
    """The recorded figures; nothing if there are none."""
    if not RECORD.exists():
        return {}
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    recorded: dict[str, Any] = toml.loads(RECORD.read_text())
    return recorded


def record(figures: Figures, reason: str) -> None:
    """Writes the figures down."""
    lines = [
        "# What one call costs: see counts.py, which writes this file and compares with it.",
        "# It is changed on purpose only: make counts-update REASON=\"...\"",
        "",
        f"reason = {json.dumps(reason)}",
        *(f"{key} = {json.dumps(value)}" for key, value in toolchain().items()),
    ]
    for workload, values in figures.items():
        lines += ["", f"[{workload}]", *(f"{name} = {value!r}" for name, value in values.items())]
    RECORD.write_text("\n".join(lines) + "\n")
    print(f"counts: recorded in {RECORD}")


if __name__ == "__main__":
    sys.exit(main())
