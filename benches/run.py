"""Measures this package beside rpyc 6.0.2 and beside the raw sockets, in one run.

Every round visits every placement and transport; there all contenders stand ready at the same time, in fresh
processes, and take turns at each workload, in an order that rotates with the round. So a change of the machine's mood
meets all of them alike. What is reported is the median over the rounds.

The programs are found through OURS_PYTHON, RPYC_RIVAL_PYTHON and FLOOR; the defaults are where the Makefile puts them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import BenchError, Contender, running
from report import describe_machine, write
from workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
TRANSPORTS = ("tcp", "unix")


@dataclass(frozen=True)
class Plan:
    """How much is measured: the number of rounds and the seconds of one measurement."""

    rounds: int
    span: float


FULL = Plan(rounds=7, span=0.25)
QUICK = Plan(rounds=3, span=0.06)


@dataclass
class Results:
    """Rates by (transport, placement, workload, contender), one a round, and what the contenders said they are."""

    rates: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)


def main() -> int:
    """Measures, prints the table, and writes it with its numbers to the output folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not a result")
    parser.add_argument("--output", type=Path, default=ROOT / "bench-results", help="folder of the results")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    machine = describe_machine()
    started = time.monotonic()
    try:
        results = measure_all(contenders(), placements(), plan)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    run = {
        "rounds": plan.rounds,
        "span_seconds": plan.span,
        "duration_seconds": round(time.monotonic() - started, 1),
        "placements": {name: sorted(cpus) for name, cpus in placements().items()},
    }
    name = "quick" if options.quick else "bench"
    print(write(options.output, name, machine | run, contenders(), results.identities, results.rates))
    return 0


def contenders() -> list[Contender]:
    """Who is measured: client and server both ours, both rpyc 6.0.2, one of each, and the sockets alone."""
    ours = program("OURS_PYTHON", ".venv/bin/python")
    rival = program("RPYC_RIVAL_PYTHON", ".venv-rival/bin/python")
    floor = program("FLOOR", "target/floor/release/floor")
    return [
        Contender("ours", "ours", ours, ours),
        Contender("rpyc", "rpyc", rival, rival),
        Contender("mixed", "our client to rpyc server", ours, rival),
        Contender("floor", "floor", floor, floor, raw=True),
    ]


def program(variable: str, default: str) -> Path:
    """The program named by an environment variable, or the one that the Makefile makes."""
    return Path(os.environ.get(variable) or ROOT / default)


def placements() -> dict[str, set[int]]:
    """Where both processes may run: on one core (the last: the first takes the interrupts), or anywhere."""
    cpus = os.sched_getaffinity(0)
    return {"one core": {max(cpus)}, "free": cpus}


def measure_all(all_contenders: list[Contender], all_placements: dict[str, set[int]], plan: Plan) -> Results:
    """Every round, placement, transport and workload, every contender in turn."""
    results = Results()
    for turn in range(plan.rounds):
        print(f"round {turn + 1} of {plan.rounds}", file=sys.stderr, flush=True)
        shift = turn % len(all_contenders)
        order = all_contenders[shift:] + all_contenders[:shift]
        for placement, cpus in all_placements.items():
            for transport in TRANSPORTS:
                measure_cell(order, transport, placement, cpus, plan.span, results)
    return results


def measure_cell(
    order: list[Contender], transport: str, placement: str, cpus: set[int], span: float, results: Results
) -> None:
    """One transport in one placement: all contenders at once, measuring one after the other."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rpyc-bench-")))
        pairs = [stack.enter_context(running(contender, transport, cpus, directory)) for contender in order]
        for pair in pairs:
            if pair.identities:
                results.identities[pair.contender.name] = pair.identities
        for workload in WORKLOADS:
            for pair in pairs:
                key = (transport, placement, workload.name, pair.contender.name)
                results.rates.setdefault(key, []).append(pair.measure(workload, span))


if __name__ == "__main__":
    sys.exit(main())
