"""The results as Markdown to read, and as JSON to compute with."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from contenders import titles
from rates import PARTS
from results import Key, Results, spread
from targets import Verdict
from workloads import SINGLES, Workload

NONE = "-"
"""A cell with nothing in it."""

HEADINGS = {
    "calls": "Calls",
    "bulk": "Large transfers",
    "structures": "Containers, instances, arrays",
    "threads": "Threads that share a connection",
    "pool": "A server with a thread pool",
    "rust": "Rust to Rust",
    "busy": "All cores kept busy by other processes",
    "link": "A link of 100 Mbit/s",
}


def write(folder: Path, name: str, run: dict[str, Any], results: Results, verdicts: list[Verdict], counts: str) -> str:
    """Writes ``NAME.md`` and ``NAME.json`` into the folder, made if missing. Returns the Markdown text."""
    text = markdown(run, results, verdicts, counts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    numbers = {
        "run": run,
        "identities": results.identities,
        "notes": results.notes,
        "targets": [row(verdict) for verdict in verdicts],
        "results": rows(results),
        "missing": [{**key._asdict(), "reason": reason} for key, reason in results.missing.items()],
    }
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return text


def markdown(run: dict[str, Any], results: Results, verdicts: list[Verdict], counts: str) -> str:
    """The whole report."""
    lines = [
        "# Benchmark",
        "",
        f"{run['date']}; {run['cpu']}, {run['cores']} cores, Linux {run['kernel']}; load {run['load']} at the start, "
        f"{run['load_end']} at the end; {run['duration_seconds']:.0f} s.",
        f"Medians of {run['rounds']} interleaved rounds; ± is half the distance of the quartiles. A ratio is the median "
        "of the ratios of each round.",
        "\"One core\" means that both processes are pinned to one, \"free\" that the scheduler places them. All connect "
        "with their defaults. Over TCP a stock server leaves TCP_NODELAY off: with many calls outstanding it waits for "
        "delayed acknowledgements, which is most of what those rows show.",
        "\"Ours vs stock\" is our client with an rpyc 6.0.2 server. \"Python socket\" receives into fresh memory, the "
        "\"Rust floor\" always into the same; \"Rust socket\" into fresh memory, too.",
        "",
        *(f"- {title}: {identify(name, results)}" for name, title in titles(results.identities).items()),
        *(f"- Note: {note}" for note in results.notes),
        "",
        *target_table(verdicts),
    ]
    for part in PARTS:
        for transport, placement in results.places(part.name):
            lines += ["", f"## {HEADINGS[part.name]}: {transport}, {placement}", ""]
            lines += table(part.name, transport, placement, part.workloads, results)
    lines += ["", "## Memory, frames, import (fresh processes; less is better)", ""]
    for transport, placement in list(results.places("singles"))[:1]:
        lines += table("singles", transport, placement, [single for single in SINGLES if single.name != "import"], results)
    lines += ["", *table("singles", "-", "free", [single for single in SINGLES if single.name == "import"], results)]
    lines += ["", counts] if counts else []
    return "\n".join(lines) + "\n"


def target_table(verdicts: list[Verdict]) -> list[str]:
    """Each target with what came of it."""
    reached = sum(verdict.word == "reached" for verdict in verdicts)
    lines = [
        f"## Targets: {reached} of {len(verdicts)} reached",
        "",
        "| what | target | measured | |",
        "|---|---:|---:|---|",
    ]
    for verdict in verdicts:
        target = verdict.target
        bound = f"{'≤' if target.at_most else '≥'} {number(target.bound)}"
        value = NONE if verdict.value is None else f"{number(verdict.value)} ±{verdict.spread:.0%}"
        word = verdict.word if verdict.word == "reached" else f"**{verdict.word}**"
        reason = f" ({verdict.reason})" if verdict.reason else ""
        lines.append(f"| {target.title} | {bound} | {value} | {word}{reason} |")
    return lines


def table(part: str, transport: str, placement: str, workloads: Sequence[Workload], results: Results) -> list[str]:
    """One transport in one placement: a row for each workload, a column for each contender."""
    columns = titles(results.contenders(part))
    lines = [
        "| " + " | ".join(["workload", "unit", *columns.values()]) + " |",
        "|---|---" + "|---:" * len(columns) + "|",
    ]
    remarks: dict[str, None] = {}
    for workload in workloads:
        cells = []
        for name, title in columns.items():
            key = Key(part, transport, placement, workload.name, name)
            cells.append(cell(key, results))
            if key in results.missing and results.missing[key] not in NOTHING:
                remarks[f"{workload.title}, {title}: {results.missing[key]}."] = None
        if any(text != NONE for text in cells):
            lines.append("| " + " | ".join([workload.title, workload.unit, *cells]) + " |")
    return [*lines, "", *(f"- {remark}" for remark in remarks)] if remarks else lines


NOTHING = {"the library has nothing of the kind", "nothing of the kind"}


def cell(key: Key, results: Results) -> str:
    """Median and spread, with latencies if there are some."""
    sample = results.values.get(key)
    if not sample:
        return NONE
    text = f"{number(statistics.median(sample))} ±{spread(sample):.0%}"
    extras = results.extras.get(key, [])
    if extras and "p50" in extras[0]:
        p50, p99 = (statistics.median(extra[name] for extra in extras) * 1e6 for name in ("p50", "p99"))
        text += f" (p50 {p50:,.0f} µs, p99 {p99:,.0f} µs)"
    return text


def number(value: float) -> str:
    """Three digits or more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def identify(name: str, results: Results) -> str:
    """What both ends of a contender said they are."""
    identity = results.identities[name]
    if not identity:
        return "blocking sockets in Rust, the same number of bytes, no RPC"
    return "; ".join(
        f"{role} {end['version']}"
        + ("" if "native" not in end else ", native engine" if end["native"] else ", pure Python")
        + (f", Python {end['python']}" if "python" in end else "")
        for role, end in identity.items()
    )


def rows(results: Results) -> list[dict[str, Any]]:
    """One record for each series, all samples included."""
    return [
        {
            **key._asdict(),
            "median": statistics.median(sample),
            "spread": spread(sample),
            "samples": sample,
            "extras": results.extras.get(key, []),
        }
        for key, sample in results.values.items()
    ]


def row(verdict: Verdict) -> dict[str, Any]:
    """A target as JSON."""
    return {
        "title": verdict.target.title,
        "bound": verdict.target.bound,
        "at_most": verdict.target.at_most,
        "value": verdict.value,
        "spread": verdict.spread,
        "verdict": verdict.word,
        "reason": verdict.reason,
    }


def describe_machine() -> dict[str, Any]:
    """When and where: what the numbers depend on beside the programs."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
    }


def cpu_model() -> str:
    """The processor's name as Linux tells it, else the architecture."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
