"""What the package is to reach, and whether it did in this run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from results import Key, Results
from workloads import BY_NAME, SIZES

BATCH_RATE = 500_000 / 74_000
"""500,000 calls a second in batches on a machine whose bare ping-pong makes 74,000: as a ratio it holds anywhere."""


@dataclass(frozen=True)
class Target:
    """A bound for one series, or for the ratio of two."""

    title: str
    over: Key
    under: Key | None
    bound: float
    at_most: bool = False
    factor: float = 1.0
    """What the ratio is multiplied with before it is compared."""
    extra: tuple[str, str] | None = None
    """Compare two of the extra values of ``over`` with each other instead."""


@dataclass(frozen=True)
class Verdict:
    """What came of a target."""

    target: Target
    value: float | None
    """None if something is missing."""
    spread: float
    word: str
    """``reached``, ``within the spread``, ``not reached`` or ``not measured``."""
    reason: str = ""


def judge(target: Target, results: Results) -> Verdict:
    """Compares with the target. A value that misses it by no more than the spread of the run is said to do so."""
    measured = value_of(target, results)
    if measured is None:
        missing = [key for key in (target.over, target.under) if key and key not in results.values]
        reasons = dict.fromkeys(results.missing.get(key, "not part of this run") for key in missing)
        return Verdict(target, None, 0.0, "not measured", "; ".join(reasons))
    value, spread = measured
    rounded = float(f"{value:.2f}") if value < 10 else value
    if rounded <= target.bound if target.at_most else rounded >= target.bound:
        word = "reached"
    elif value * (1 - spread) <= target.bound if target.at_most else value * (1 + spread) >= target.bound:
        word = "within the spread"
    else:
        word = "not reached"
    return Verdict(target, value, spread, word)


def value_of(target: Target, results: Results) -> tuple[float, float] | None:
    """The value to compare, and its spread."""
    if target.extra:
        dividend, divisor = target.extra
        ratios = sorted(extra[dividend] / extra[divisor] for extra in results.extras.get(target.over, ()))
        return (ratios[len(ratios) // 2], 0.0) if ratios else None
    if target.under is None:
        median = results.median(target.over)
        return None if median is None else (median, 0.0)
    ratio = results.ratio(target.over, target.under)
    return None if ratio is None else (ratio[0] * target.factor, ratio[1])


def targets() -> Iterator[Target]:
    """All of them, in the order of the report."""
    yield from calls()
    yield from bulk()
    yield from structures()
    yield from rust()
    yield from amounts()


def rust() -> Iterator[Target]:
    """Rust to Rust."""
    for placement in ("one core", "free"):
        yield rust_ratio("sync", placement, "floor", 0.9)
        for rival in ("rust tarpc", "rust capnp", "rust remoc"):
            yield rust_ratio("sync", placement, rival, 1.0)
        yield rust_ratio("outstanding", placement, "rust tarpc", 3)
        yield rust_ratio("push", placement, "rust socket", 0.8)
        yield rust_ratio("echo", placement, "rust socket", 0.8)
    tokio = Key("singles", "tcp", "free", "rust idle", "rust rpyc-tokio")
    yield Target("memory of an idle connection under tokio, KiB", tokio, None, 8, True)


def rust_ratio(workload: str, placement: str, rival: str, bound: float) -> Target:
    """The crate beside another."""
    title = f"Rust: {BY_NAME[workload].title}, tcp, {placement} / {rival.removeprefix('rust ')}"
    ours, other = (key(workload, "tcp", placement, name, "rust") for name in ("rust rpyc", rival))
    return Target(title, ours, other, bound)


def calls() -> Iterator[Target]:
    """Small calls."""
    one, free = "one core", "free"
    yield compare("held", "tcp", one, "floor", 0.70)
    yield compare("held", "unix", one, "floor", 0.60)
    yield compare("held", "unix", one, "managers", 1.25)
    yield compare("held", "tcp", free, "rpyc", 6)
    yield compare("held", "unix", free, "rpyc", 10)
    for transport in ("tcp", "unix"):
        ours, quiet = (Key("busy", transport, free, "held", name) for name in ("ours", "quiet"))
        yield Target(f"held call, all cores busy, {transport}: polling / not polling", ours, quiet, 1.0)
    for name, against in (("ours", "our server"), ("stock", "a stock server")):
        method, held = (Key("calls", "tcp", one, workload, name) for workload in ("method", "held"))
        yield Target(f"`conn.root.add(1, 2)` / held call, {against}, tcp, one core", method, held, 0.9)
    for placement in (one, free):
        yield compare("attribute", "tcp", placement, "rpyc", 5)
    for placement in (one, free):
        yield compare("async5000", "tcp", placement, "rpyc", 6)
        many, single = Key("calls", "tcp", placement, "async5000", "ours"), key("held", "tcp", placement, "rpyc")
        yield Target(f"5,000 outstanding / rpyc's held call, tcp, {placement}", many, single, 6)
        stall = ("slowest_seconds", "median_seconds")
        yield Target(f"5,000 outstanding, tcp, {placement}: slowest / median", many, None, 2, True, extra=stall)
    yield Target(
        "batch / bare held call, tcp, one core", key("batch", "tcp", one, "ours"), key("held", "tcp", one, "floor"), BATCH_RATE
    )
    for rival in ("serpent", "msgpack"):
        yield compare("batch", "tcp", one, rival, 1.0)
    for placement in (one, free):
        for count in (1, 4, 16):
            yield compare(f"threads{count}", "tcp", placement, "rpyc", 5, "threads")
            ours = key(f"threads{count}", "tcp", placement, "ours", "threads")
            title = f"{BY_NAME[f'threads{count}'].title}, tcp, {placement}: p99 / median"
            yield Target(title, ours, None, 20, True, extra=("p99", "p50"))
    for placement in (one, free):
        yield compare("connect", "tcp", placement, "rpyc", 2)


def bulk() -> Iterator[Target]:
    """Large transfers."""
    for placement in ("one core", "free"):
        for kind in ("push", "echo"):
            for size in SIZES:
                yield compare(f"{kind}{size}", "tcp", placement, "socket", 0.6, "bulk")
            large, small = (key(f"{kind}{size}", "tcp", placement, "ours", "bulk") for size in (256, 16))
            # Linear, but for the processor's cache, which holds a good part of the small one.
            yield Target(f"{kind} of 256 MiB / of 16 MiB, tcp, {placement}", large, small, 0.5)
    yield compare("text16", "tcp", "free", "rpyc", 1.0, "link")
    for placement in ("one core", "free"):
        yield compare("numpy16", "tcp", placement, "socket", 0.5, "structures")


def structures() -> Iterator[Target]:
    """Containers and instances."""
    for placement in ("one core", "free"):
        yield compare("iterate", "tcp", placement, "rpyc", 50, "structures")
        yield compare("list", "tcp", placement, "rpyc", 50, "structures")
        yield compare("instances", "tcp", placement, "rpyc", 30, "structures")


def amounts() -> Iterator[Target]:
    """Memory, frames and the import."""

    def single(name: str, contender: str = "ours", transport: str = "tcp") -> Key:
        return Key("singles", transport, "free", name, contender)

    for kind in ("push", "echo"):
        for size in (16, 64, 256):
            for end in ("client", "server"):
                name = f"{end} {kind}{size}"
                yield Target(f"{BY_NAME[name].title}, payloads", single(name), None, 2.2, True)
    yield Target("memory of an idle connection / rpyc", single("idle"), single("idle", "rpyc"), 0.2, True)
    yield Target("`import rpyc` / rpyc", single("import", transport="-"), single("import", "rpyc", "-"), 1.0, True)
    for name, bound in (("method", 1), ("iterate", 8), ("list", 8), ("instances", 2)):
        yield Target(BY_NAME[f"requests {name}"].title, single(f"requests {name}"), None, bound, True)
    yield Target(f"{BY_NAME['requests method'].title}, stock server", single("requests method", "stock"), None, 1, True)


def compare(
    workload: str, transport: str, placement: str, rival: str, bound: float, part: str = "calls"
) -> Target:
    """Ours beside another, in the same place."""
    title = f"{BY_NAME[workload].title}, {transport}, {placement} / {RIVALS[rival]}"
    return Target(
        title, key(workload, transport, placement, "ours", part), key(workload, transport, placement, rival, part), bound
    )


RIVALS = {
    "floor": "Rust floor",
    "rpyc": "rpyc",
    "managers": "managers",
    "serpent": "Pyro5 serpent",
    "msgpack": "Pyro5 msgpack",
    "socket": "Python socket",
}


def key(workload: str, transport: str, placement: str, contender: str, part: str = "calls") -> Key:
    """A series."""
    return Key(part, transport, placement, workload, contender)
