"""Measures this package beside RPyC 6.0.2, others of its kind, and bare sockets, in one run.

The order is by rounds (see ``rates.py``): each visits every part, so that all parts spread over the whole time.

The programs are found through OURS_PYTHON, BENCH_PYTHON and FLOOR; the defaults are where the Makefile puts them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import singles
from chart import draw
from contenders import ROOT
from peers import BenchError, placements
from rates import PARTS, measure
from report import describe_machine, write
from results import Key, Results
from targets import judge, targets

COUNTS = ROOT / "bench-results" / "counts.md"
"""The counts of instructions and system calls, if they were taken."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    span: float
    """Seconds of one measurement."""
    single_rounds: int
    """Rounds of what is not a rate, and hardly varies."""
    sizes: tuple[int, ...]
    """MiB of the transfers whose memory is looked at."""
    largest: int
    """MiB of the largest transfer whose rate is measured."""
    turns: int
    """Turns that the contenders take at most, in parts with several."""
    idle_connections: int


FULL = Plan(
    rounds=7,
    span=0.12,
    single_rounds=7,
    sizes=(16, 64, 256),
    largest=256,
    turns=8,
    idle_connections=singles.IDLE_CONNECTIONS,
)
RUST_IDLE = 500
"""Idle connections in Rust: their servers' memory grows evenly."""

QUICK = Plan(rounds=1, span=0.03, single_rounds=1, sizes=(16,), largest=16, turns=1, idle_connections=200)


def main() -> int:
    """Measures, prints the report, and writes it with its numbers to the output folder. Ctrl-C ends the measuring, and
    what was measured is reported."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not a result")
    parser.add_argument("--only", nargs="+", metavar="PART", help="only these parts, for instance: calls singles")
    parser.add_argument("--output", type=Path, default=ROOT / "bench-results", help="folder of the results")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    machine = describe_machine()
    started = time.monotonic()
    results = Results()
    rounds = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell started this in the background, with Ctrl-C ignored.
        signal.signal(number, signal.default_int_handler)
    try:
        for turn in range(plan.rounds):
            print(f"round {turn + 1} of {plan.rounds}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            one_round(plan, turn, options.only, results)
            rounds += 1
    except KeyboardInterrupt:
        results.note(f"Interrupted in round {rounds + 1} of {plan.rounds}; what was measured counts.")
    run = {
        "rounds": rounds,
        "span_seconds": plan.span,
        "duration_seconds": round(time.monotonic() - started, 1),
        "load_end": round(os.getloadavg()[0], 2),
        "placements": {name: sorted(cpus) for name, cpus in placements().items()},
    }
    verdicts = [judge(target, results) for target in targets()]
    if ceiling := results.ratio(*(Key("calls", "tcp", "one core", f"bare {name}", "rpyc") for name in ("method", "held"))):
        results.note(
            f"A stock server answers the frame of `conn.root.add(1, 2)` at {ceiling[0]:.3g} ±{ceiling[1]:.0%} of the rate of "
            "that of a held call, if both come from a bare socket on its core: so much of the difference is not the client's."
        )
    name = "quick" if options.quick else "bench"
    counts = COUNTS.read_text() if COUNTS.exists() else ""
    print(write(options.output, name, machine | run, results, verdicts, counts))
    (options.output / f"{name}.svg").write_text(draw(results, machine | run))
    return 0


def one_round(plan: Plan, turn: int, only: list[str] | None, results: Results) -> None:
    """Every part once."""

    def wanted(part: str) -> bool:
        return not only or part in only

    for part in PARTS:
        if wanted(part.name):
            began = time.monotonic()
            measure(part.limited(plan.largest, plan.turns), turn, plan.span, results)
            print(f"  {part.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if wanted("singles") and turn < plan.single_rounds:
        attempt(singles.peak_memory, plan.sizes, results)
        attempt(singles.idle_memory, plan.idle_connections, results)
        attempt(singles.rust_idle_memory, min(plan.idle_connections, RUST_IDLE), results)
        if turn == 0:
            # They are the same each time.
            attempt(singles.frames, results)
        attempt(singles.import_time, results)


def attempt(what: Callable[..., None], *arguments: Any) -> None:
    """One measurement that fails does not end the others; the last argument, the results, hears of it."""
    try:
        what(*arguments)
    except (BenchError, OSError) as error:
        arguments[-1].note(f"{what.__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
