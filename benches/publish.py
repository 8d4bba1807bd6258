"""Puts the last results of ``make bench`` into the documents: the chart, the whole report, and the README's tables.

Not a part of ``make bench``: a run on a busy machine is worth a look, and not worth publishing.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from contenders import ROOT
from report import number
from workloads import BY_NAME

RESULTS = ROOT / "bench-results"
DOCS = ROOT / "docs"
README = ROOT / "README.md"
OPENING, CLOSING = "<!-- bench -->", "<!-- /bench -->"

ROWS = (
    ("calls", "held"),
    ("calls", "method"),
    ("calls", "attribute"),
    ("calls", "async5000"),
    ("calls", "batch"),
    ("calls", "connect"),
    ("bulk", "push16"),
    ("bulk", "echo16"),
    ("structures", "numpy16"),
    ("structures", "list"),
    ("structures", "instances"),
)

COLUMNS = {
    "ours": "ours",
    "rpyc": "rpyc 6.0.2",
    "managers": "managers",
    "msgpack": "Pyro5 msgpack",
    "floor": "Rust floor",
}

PLACES = {
    "one core": "Over TCP, client and server on one core:",
    "free": "Over TCP, each process where the scheduler puts it:",
}


def main() -> int:
    """Publishes, or says what is missing."""
    source = RESULTS / "bench.json"
    if not source.exists():
        print(f"publish: no {source}: run make bench first", file=sys.stderr)
        return 1
    numbers = json.loads(source.read_text())
    (DOCS / "speed.svg").write_text((RESULTS / "bench.svg").read_text())
    (DOCS / "speed.md").write_text((RESULTS / "bench.md").read_text())
    text = README.read_text()
    before, _, rest = text.partition(OPENING)
    _, _, after = rest.partition(CLOSING)
    README.write_text(f"{before}{OPENING}\n\n{section(numbers)}\n{CLOSING}{after}")
    return 0


def section(numbers: dict[str, Any]) -> str:
    """What stands between the marks."""
    run = numbers["run"]
    medians = {
        (row["part"], row["placement"], row["workload"], row["contender"]): row["median"]
        for row in numbers["results"]
        if row["transport"] == "tcp"
    }
    lines = ["![Times as fast as RPyC 6.0.2](docs/speed.svg)"]
    for placement, heading in PLACES.items():
        lines += ["", heading, "", *table(placement, medians)]
    reached = sum(target["verdict"] == "reached" for target in numbers["targets"])
    lines += [
        "",
        f"Medians of {run['rounds']} interleaved rounds; {run['cpu']}, {run['cores']} cores, load {run['load']} at the "
        f"start. {reached} of {len(numbers['targets'])} targets were reached; they, the other contenders and workloads, "
        "Unix sockets, memory, and the counts of instructions are in the [whole report](docs/speed.md).",
        "",
    ]
    return "\n".join(lines)


def table(placement: str, medians: dict[tuple[str, str, str, str], float]) -> list[str]:
    """One placement."""
    lines = [
        "| workload | " + " | ".join([*list(COLUMNS.values())[:2], "ratio", *list(COLUMNS.values())[2:]]) + " |",
        "|---" + "|---:" * (len(COLUMNS) + 1) + "|",
    ]
    for part, workload in ROWS:
        values = [medians.get((part, placement, workload, contender)) for contender in COLUMNS]
        if values[0] is None:
            continue
        unit = BY_NAME[workload].unit.replace("calls/s", "/s").replace("times/s", "/s")
        cells = ["-" if value is None else f"{number(value)}{'' if unit == '/s' else ' '}{unit}" for value in values]
        ratio = "-" if values[1] is None else f"{values[0] / values[1]:.1f}"
        lines.append(f"| {BY_NAME[workload].title} | " + " | ".join([*cells[:2], ratio, *cells[2:]]) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
