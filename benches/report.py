"""The results as a Markdown table to read and as JSON to compute with."""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from peers import Contender
from workloads import WORKLOADS

Rates = dict[tuple[str, str, str, str], list[float]]
"""(transport, placement, workload, contender) -> one rate a round, in the workload's unit."""

RATIOS = (("ours", "rpyc"), ("mixed", "rpyc"), ("ours", "floor"))
"""Which contenders the table compares: names of dividend and divisor."""


def write(
    folder: Path,
    name: str,
    run: dict[str, Any],
    contenders: list[Contender],
    identities: dict[str, dict[str, Any]],
    rates: Rates,
) -> str:
    """Writes ``NAME.md`` and ``NAME.json`` into the folder, made if missing. Returns the Markdown text."""
    text = markdown(run, contenders, identities, rates)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    numbers = {"run": run, "identities": identities, "results": rows(rates)}
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return text


def markdown(
    run: dict[str, Any], contenders: list[Contender], identities: dict[str, dict[str, Any]], rates: Rates
) -> str:
    """The whole report."""
    lines = [
        "# Benchmark",
        "",
        f"{run['date']}; {run['cpu']}, {run['cores']} cores, Linux {run['kernel']}, load {run['load']} at the start.",
        f"Medians of {run['rounds']} interleaved rounds of {run['span_seconds']} s a measurement;",
        "± is half the distance of the quartiles. More is better. MiB/s is payload that went there and back.",
        "All connect with their defaults. Over TCP an rpyc server leaves TCP_NODELAY off: with many calls outstanding it",
        "waits for delayed acknowledgements, which is most of what that row shows.",
        "",
    ]
    lines += [f"- {contender.title}: {identify(contender, identities)}" for contender in contenders]
    cells = dict.fromkeys((transport, placement) for transport, placement, _, _ in rates)
    for transport, placement in sorted(cells):
        lines += ["", f"## {transport}, {placement}", "", *table(transport, placement, contenders, rates)]
    return "\n".join(lines) + "\n"


def identify(contender: Contender, identities: dict[str, dict[str, Any]]) -> str:
    """What both ends of a contender said they are."""
    if contender.raw:
        return "blocking sockets, the same number of bytes, no RPC"
    return "; ".join(
        f"{role} version {end['version']}, {'native engine' if end['native'] else 'pure Python'}, "
        f"Python {end['python']}"
        for role, end in identities[contender.name].items()
    )


def table(transport: str, placement: str, contenders: list[Contender], rates: Rates) -> list[str]:
    """One transport in one placement: a row for each workload, the ratios on the right."""
    titles = {contender.name: contender.title for contender in contenders}
    headings = [*titles.values(), *(f"{titles[over]} / {titles[under]}" for over, under in RATIOS)]
    lines = [
        "| " + " | ".join(["workload", "unit", *headings]) + " |",
        "|---|---" + "|---:" * len(headings) + "|",
    ]
    for workload in WORKLOADS:
        samples = {name: rates[transport, placement, workload.name, name] for name in titles}
        medians = {name: statistics.median(sample) for name, sample in samples.items()}
        cells = [workload.title, workload.unit]
        cells += [f"{medians[name]:,.0f} ±{spread(samples[name]):.0%}" for name in titles]
        cells += [ratio(medians[over] / medians[under]) for over, under in RATIOS]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(value: float) -> str:
    """Two decimals, or two digits where that would say nothing."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def rows(rates: Rates) -> list[dict[str, Any]]:
    """One record for each series, all samples included."""
    units = {workload.name: workload.unit for workload in WORKLOADS}
    return [
        {
            "transport": transport,
            "placement": placement,
            "workload": workload,
            "contender": contender,
            "unit": units[workload],
            "median": statistics.median(sample),
            "spread": spread(sample),
            "samples": sample,
        }
        for (transport, placement, workload, contender), sample in rates.items()
    ]


def spread(sample: list[float]) -> float:
    """Half the distance of the quartiles, as a part of the median."""
    low, _, high = statistics.quantiles(sample, n=4, method="inclusive")
    return (high - low) / 2 / statistics.median(sample)


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
