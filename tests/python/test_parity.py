"""The Python interface is RPyC 6.0.2's, but for the differences that are listed with their reasons.

The comparison is tools/parity.py's. RPYC_RIVAL_PYTHON names an interpreter where PyPI's rpyc is installed; without it,
and without `.venv-rival`, these tests fail.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "parity.py"


sys.path.insert(0, str(TOOL.parent))
parity: Any = importlib.import_module("parity")


@pytest.fixture(scope="module")
def examined() -> Any:
    """The rows of the table, and the complaints."""
    return parity.examine()


def test_every_difference_has_its_reason(examined: Any) -> None:
    """No gap has gone unnoticed, and the list of differences has no entry too many."""
    _, complaints = examined
    assert not complaints, "\n".join(complaints)


def test_the_table_is_up_to_date(examined: Any) -> None:
    """docs/parity.md is what the program would write now."""
    rows, _ = examined
    assert parity.TABLE.read_text(encoding="utf-8") == parity.render(rows), f"run {TOOL.name} and look at the difference"


def test_all_kinds_of_names_are_compared(examined: Any) -> None:
    """Each way of finding a name finds what it is for: a comparison of nothing would be all right, too."""
    rows = {row.path: row for row in examined[0]}
    expected = {
        "rpyc.classic": "module",
        "rpyc.connect": "function",
        "rpyc.core.brine.TAG_NONE": "constant",
        "rpyc.core.brine._load_registry": "constant",
        "rpyc.core.netref.BaseNetref.__getattribute__": "special method",
        "rpyc.core.protocol.Connection": "class",
        "rpyc.core.protocol.Connection._config": "attribute",
        "rpyc.core.protocol.Connection._handle_inspect": "method",
        "rpyc.core.protocol.Connection._request_handlers": "class method",
        "rpyc.core.protocol.DEFAULT_CONFIG.allow_pickle": "setting",
        "rpyc.core.service.MasterService._install": "static method",
        "rpyc.core.service.Service._connect": "hybrid method",
        "rpyc.utils.server.Server.clients": "attribute",
    }
    found = {path: (rows[path].theirs.kind, rows[path].verdict) for path in expected}
    assert found == {path: (kind, "same") for path, kind in expected.items()}
    imported = {"rpyc.core.protocol.sys", "rpyc.core.brine.annotations", "rpyc.core.channel.TYPE_CHECKING"}
    assert not imported & rows.keys()


F = "rpyc.lib.f"


@pytest.mark.parametrize(
    ("theirs", "ours", "verdict"),
    [
        (["a", "b=1"], ["a", "b=1"], "same"),
        (["a"], ["a", "b=1"], "extra"),
        (["a"], ["a", "*args", "**kwargs"], "extra"),
        (["a"], ["a", "b"], "differs"),
        (["a", "b=1"], ["a", "b=2"], "differs"),
        (["a", "b=1"], ["a"], "differs"),
        (["a", "b"], ["b", "a"], "differs"),
        (["a"], ["a", "/"], "differs"),
        (["a"], None, "missing"),
        (None, ["a"], "extra"),
    ],
)
def test_signatures_are_compared(theirs: list[str] | None, ours: list[str] | None, verdict: str) -> None:
    """Anything that could break a call differs; optional parameters after the same ones are extra."""
    assert [row.verdict for row in parity.compare(function(theirs), function(ours))] == [verdict]


def test_kinds_and_values_are_compared() -> None:
    """A constant of another value, and a name of another kind, differ."""
    one, two = (parity.Name("rpyc.lib", "constant", value) for value in ("1", "2"))
    assert [row.verdict for row in parity.compare({F: one}, {F: two})] == ["differs"]
    assert [row.verdict for row in parity.compare({F: one}, function([]))] == ["differs"]


def test_the_list_of_differences_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference without entry, and an entry without difference, are complained about."""
    listed = tmp_path / "differences.toml"
    monkeypatch.setattr(parity, "DIFFERENCES", listed)
    listed.write_text("[[difference]]\nnames = ['rpyc.lib.f*']\nreason = 'because'\n")
    gap = parity.compare(function(["a"]), {})
    assert parity.account(gap) == [] and gap[0].reason == "because"
    (stale,) = parity.account(parity.compare(function(["a"]), function(["a"])))
    assert "rpyc.lib.f*" in stale and "remove" in stale
    listed.write_text("difference = []\n")
    (unlisted,) = parity.account(parity.compare(function(["a"]), {}))
    assert F in unlisted and "missing" in unlisted


@pytest.mark.parametrize(("python", "words"), [("/no/such/python", "make rival"), (sys.executable, "expected this package")])
def test_a_wrong_interpreter_is_named(python: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison with nothing, or with itself."""
    monkeypatch.setenv("RPYC_RIVAL_PYTHON", python)
    with pytest.raises(parity.ParityError, match=words):
        parity.examine()


def function(parameters: list[str] | None) -> dict[str, Any]:
    """A package with one function, or with none."""
    return {} if parameters is None else {F: parity.Name("rpyc.lib", "function", parameters=parameters)}
