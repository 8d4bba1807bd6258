"""The chart of the README: how many times as fast as RPyC 6.0.2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from results import Key, Results

BARS = (
    ("held call f(1, 2)", "calls", "held"),
    ("conn.root.add(1, 2)", "calls", "method"),
    ("conn.root.value", "calls", "attribute"),
    ("5,000 calls outstanding", "calls", "async5000"),
    ("connect, call, close", "calls", "connect"),
    ("16 threads, one connection", "threads", "threads16"),
    ("push of 16 MiB", "bulk", "push16"),
    ("echo of 16 MiB", "bulk", "echo16"),
    ("NumPy array of 16 MiB", "structures", "numpy16"),
    ("200 instances of a class", "structures", "instances"),
    ("list() of 1,000 remote items", "structures", "list"),
)

WIDTH, LEFT, RIGHT = 720, 220, 70
TOP, STEP, THICK = 64, 28, 18

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #6e7781 } .ours { fill: #b7410e } .grid { stroke: #d0d7de } .one { stroke: #57606a }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #e8743b }
.grid { stroke: #3d444d } .one { stroke: #9198a1 } }
"""


def draw(results: Results, run: dict[str, Any]) -> str:
    """The chart as SVG: bars on a logarithmic scale, both processes on one core, over TCP."""
    bars = list(ratios(results))
    height = TOP + STEP * len(bars) + 24
    decades = max(1, math.ceil(math.log10(max([ratio for _, ratio in bars], default=10))))
    scale = (WIDTH - LEFT - RIGHT) / decades
    bottom = height - 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Speed as a multiple of RPyC 6.0.2">',
        f"<style>{STYLE}</style>",
        '<text class="title" x="12" y="22">Times as fast as RPyC 6.0.2</text>',
        f'<text class="small" x="12" y="40">Both ends this package; TCP, one core; medians of {run["rounds"]} rounds; '
        f"{escape(run['cpu'])}; logarithmic scale</text>",
    ]
    for decade in range(decades + 1):
        x = LEFT + decade * scale
        kind = "grid" if decade else "one"
        parts.append(f'<line class="{kind}" x1="{x:.0f}" y1="{TOP - 8}" x2="{x:.0f}" y2="{bottom}"/>')
        parts.append(f'<text class="small" x="{x:.0f}" y="{height - 8}" text-anchor="middle">{10**decade}x</text>')
    for place, (title, ratio) in enumerate(bars):
        y = TOP + place * STEP
        end = LEFT + max(0.0, math.log10(ratio)) * scale
        base = y + THICK - 4
        parts.append(f'<text x="{LEFT - 10}" y="{base}" text-anchor="end">{escape(title)}</text>')
        parts.append(f'<rect class="ours" x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{THICK}" rx="2"/>')
        parts.append(f'<text x="{end + 6:.1f}" y="{base}">{ratio:.1f}x</text>')
    return "\n".join([*parts, "</svg>", ""])


def ratios(results: Results) -> Iterator[tuple[str, float]]:
    """Title and ratio of the bars whose workloads were measured."""
    for title, part, workload in BARS:
        ours, rpyc = (Key(part, "tcp", "one core", workload, name) for name in ("ours", "rpyc"))
        ratio = results.ratio(ours, rpyc)
        if ratio:
            yield title, ratio[0]
