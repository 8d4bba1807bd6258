"""What was measured, by where and what and who; and what could not be."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workloads import Workload

Answer = dict[str, Any]
"""What a client answers to an order: calls, seconds, and what else it has to say."""


class Key(NamedTuple):
    """One series of samples."""

    part: str
    """The table it belongs to."""
    transport: str
    placement: str
    workload: str
    contender: str


@dataclass
class Results:
    """One sample a round in each series."""

    values: dict[Key, list[float]] = field(default_factory=dict)
    """In the unit of the workload."""
    extras: dict[Key, list[dict[str, Any]]] = field(default_factory=dict)
    """What the program said beyond calls and seconds, one a sample."""
    missing: dict[Key, str] = field(default_factory=dict)
    """Why a series has no samples, or not one for each round."""
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the ends of a contender said they are."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know of this run."""

    def add(self, key: Key, value: float, **extra: Any) -> None:
        """One more sample."""
        self.values.setdefault(key, []).append(value)
        if extra:
            self.extras.setdefault(key, []).append(extra)

    def add_answers(self, key: Key, workload: Workload, answers: list[Answer]) -> None:
        """One more sample, from all that a client answered in a round."""
        calls, seconds = (sum(answer[name] for answer in answers) for name in ("calls", "seconds"))
        extra = {name: value for name, value in answers[-1].items() if name not in ("calls", "seconds")}
        self.add(key, calls * workload.scale / seconds, **extra)

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self.notes:
            self.notes.append(text)

    def median(self, key: Key) -> float | None:
        """The median of a series, None if it has none."""
        return statistics.median(self.values[key]) if key in self.values else None

    def ratio(self, over: Key, under: Key) -> tuple[float, float] | None:
        """Median and spread of the ratio of two series, taken in each round: their samples met the same mood of the
        machine."""
        if over not in self.values or under not in self.values:
            return None
        pairs = list(zip(self.values[over], self.values[under], strict=False))
        if len(self.values[over]) != len(self.values[under]):
            return statistics.median(self.values[over]) / statistics.median(self.values[under]), 0.0
        ratios = [above / below for above, below in pairs]
        return statistics.median(ratios), spread(ratios)

    def contenders(self, part: str) -> set[str]:
        """Who took part."""
        return {key.contender for key in self.values if key.part == part}

    def places(self, part: str) -> Iterator[tuple[str, str]]:
        """The transports and placements of a part, each once."""
        yield from dict.fromkeys((key.transport, key.placement) for key in self.values if key.part == part)


def spread(sample: list[float]) -> float:
    """Half the distance of the quartiles, as a part of the median; 0 for less than two values."""
    if len(sample) < 2:
        return 0.0
    low, _, high = statistics.quantiles(sample, n=4, method="inclusive")
    return (high - low) / 2 / statistics.median(sample)
