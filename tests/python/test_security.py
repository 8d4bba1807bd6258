"""SECURITY.md promises what tests show: the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_promise_has_its_test() -> None:
    """Each name in the tables is that of a test function, and each line of the tables of promises has one."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(NAMED.findall(text))
    assert len(named) > 30
    for file, test in sorted(named):
        tree = ast.parse((ROOT / "tests" / "python" / file).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert test in functions, f"SECURITY.md names {file}::{test}, which does not exist"
    for section in ("## What a peer can do", "## Who gets in"):
        body = text.split(section, 1)[1].split("\n## ", 1)[0]
        rows = [line for line in body.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 5
        for row in rows:
            assert NAMED.search(row), f"no test is named in: {row[:100]}"
