"""Rates, measured in turns.

Every round visits every placement and transport of a part; there all contenders stand ready at the same time, in fresh
processes, and take turns at each workload, in an order that rotates with the round. So a change of the machine's mood
meets all of them alike.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import contenders as who
from contenders import Contender
from network import slow_link
from peers import BenchError, Pair, placements, running
from results import Answer, Key, Results
from workloads import BULK, BUSY, CALLS, LINK, POOL, RUST, STRUCTURES, THREADS, Workload

SETTLE = 0.15
"""Seconds from the start of the last process to the first measurement. The core is not free at once: whoever came first
had a tenth of its rate."""

POLLING_KEY = "busy_poll"
"""The key of the configuration that limits busy polling, in seconds; 0 turns it off."""


@dataclass(frozen=True)
class Part:
    """Workloads and contenders that are measured together."""

    name: str
    workloads: Sequence[Workload]
    contenders: Sequence[Contender]
    transports: Sequence[str] = ("tcp",)
    placements: Sequence[str] = ("one core", "free")
    stretch: float = 1.0
    """How much longer than others its measurements are."""
    turns: int = 1
    """How often the contenders take turns: their sample is what they did in all of them."""

    def limited(self, largest: int, turns: int) -> Part:
        """The part without transfers of more than so many MiB, and with so many turns at most."""
        part = replace(self, turns=min(self.turns, turns))
        if self.name != "bulk":
            return part
        return replace(part, workloads=[workload for workload in self.workloads if workload.scale <= largest])


QUIET = replace(who.OURS, name="quiet", title="ours, no polling", client_words=("--config", f'{{"{POLLING_KEY}": 0}}'))
QUIET = replace(QUIET, server_words=QUIET.client_words)

POOLED = tuple(replace(contender, server_words=("--server", "pool")) for contender in (who.OURS, who.RPYC, who.STOCK))

PARTS = (
    Part("calls", CALLS, who.ALL, ("tcp", "unix")),
    Part(
        "bulk",
        BULK,
        (who.OURS, who.RPYC, who.STOCK, who.MANAGERS, who.SERPENT, who.MSGPACK, who.EXECNET, who.SOCKET, who.RAW),
        stretch=0.4,
    ),
    Part("structures", STRUCTURES, (who.OURS, who.RPYC, who.STOCK, who.MANAGERS, who.SOCKET)),
    Part("threads", THREADS, (who.OURS, who.RPYC, who.STOCK)),
    Part("pool", POOL, (*POOLED, who.RAW)),
    Part("rust", RUST, (*who.RUST, who.RAW), stretch=1.5),
    Part("busy", BUSY, (who.OURS, QUIET, who.RPYC, who.RAW), ("tcp", "unix"), ("free",), stretch=1.5, turns=8),
    Part("link", LINK, (who.OURS, who.RPYC, who.STOCK), placements=("free",)),
)


def measure(part: Part, turn: int, span: float, results: Results) -> None:
    """One round of a part; each measurement takes about ``span`` seconds."""
    shift = turn % len(part.contenders)
    order = [*part.contenders[shift:], *part.contenders[:shift]]
    cpus = placements()
    for placement in part.placements:
        for transport in part.transports:
            with ExitStack() as stack:
                if part.name == "link":
                    for contender in order:
                        with slow_link(results) as link:
                            measure_cell(part, [contender], transport, placement, cpus[placement], span, results, **link)
                    continue
                if part.name == "busy":
                    stack.enter_context(busy(len(cpus["free"])))
                measure_cell(part, order, transport, placement, cpus[placement], span * part.stretch, results)


def measure_cell(
    part: Part,
    order: Sequence[Contender],
    transport: str,
    placement: str,
    cpus: set[int],
    span: float,
    results: Results,
    **link: Any,
) -> None:
    """One transport in one placement: all contenders at once, measuring one after the other."""

    def key(workload: Workload, contender: Contender) -> Key:
        return Key(part.name, transport, placement, workload.name, contender.name)

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rpyc-bench-")))
        pairs: list[Pair] = []
        for contender in order:
            try:
                pair = stack.enter_context(running(contender, transport, cpus, directory, **link))
            except BenchError as error:
                results.missing[key(part.workloads[0], contender)] = str(error)
                results.note(str(error))
                continue
            results.identities.setdefault(contender.name, pair.identities)
            pairs.append(pair)
        time.sleep(SETTLE)
        for workload in part.workloads:
            taken: dict[Key, list[Answer]] = {}
            for _ in range(part.turns):
                for pair in list(pairs):
                    series = key(workload, pair.contender)
                    if series in results.missing:
                        continue
                    try:
                        answer = measure_one(pair, workload, transport, span, series, results)
                    except BenchError as error:
                        # The pair is lost for this round; in later rounds what failed is not tried again.
                        results.missing[series] = str(error)
                        results.note(str(error))
                        pairs.remove(pair)
                        taken.pop(series, None)
                        continue
                    if answer is not None:
                        taken.setdefault(series, []).append(answer)
            for series, answers in taken.items():
                results.add_answers(series, workload, answers)


def measure_one(
    pair: Pair, workload: Workload, transport: str, span: float, series: Key, results: Results
) -> Answer | None:
    """What the client answered, or None if there is a reason why it can't, which is noted."""
    skips = pair.contender.skips
    unknown = pair.identities.get("client", {}).get("unknown_config")
    order = pair.contender.order(workload, span)
    if reason := skips.get(workload.name) or skips.get(f"{transport} {workload.name}"):
        results.missing[series] = reason
    elif unknown and pair.contender.name == "quiet":
        results.missing[series] = f"the configuration has no {', '.join(unknown)}"
    elif order is None:
        results.missing[series] = "nothing of the kind"
    else:
        answer = pair.ask(order, span)
        if "missing" not in answer:
            return answer
        results.missing[series] = answer["missing"]
    return None


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keeps as many processes computing as there are cores."""
    program = [sys.executable, "-c", "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"]
    processes = [subprocess.Popen(program) for _ in range(cores)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
