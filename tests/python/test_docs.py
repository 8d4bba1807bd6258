"""The documents say what is true: their code runs, their tables match the code, their links lead somewhere.

In README.md and docs/guide.md, by the word after the fence's language:

* ``python``: run in order, in one namespace per document;
* ``python server``: a program of its own, which runs until the document's end. Its port, 1886x or 1887x, stands for a
  free one: the program gets port 0, and later blocks the number that it announces;
* ``sh run``: a command in the document's directory, which is empty at first.

Other blocks are only shown. In the first kind a comment at the end of a statement is checked: ``# -> value`` is the
``repr`` of the expression, ``# raises Error: text`` the class of an exception and the beginning of its text.
"""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly

import rpyc

ROOT = Path(__file__).resolve().parents[2]
RUNNABLE = ["README.md", "docs/guide.md"]
DOCUMENTS = [*RUNNABLE, "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] + sorted(
    f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name != "guide.md"
)

PORT = re.compile(r"\b188[67]\d\b")

# What comes before a program: it tells when it listens, and where.
ANNOUNCE = "import logging, sys; logging.basicConfig(level=logging.DEBUG, format='%(message)s', stream=sys.stdout)\n"
ANNOUNCED = re.compile(r"server started on \[?.*?\]?:([^\]:]+)$")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", RUNNABLE)
def test_the_code_runs(name: str, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a document run, and what its comments say is so."""
    monkeypatch.chdir(rig.directory())
    reader = Reader(rig)
    try:
        for block in blocks(ROOT / name):
            reader.run(block)
    finally:
        reader.close()
    assert reader.programs and reader.checks, f"{name} starts no server, or checks nothing"


def test_configuration_lists_every_key_with_its_default() -> None:
    """docs/configuration.md, section 1, is DEFAULT_CONFIG."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = text[text.index("## 1.") : text.index("## 2.")]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", section, re.MULTILINE))
    assert set(listed) == set(rpyc.DEFAULT_CONFIG)
    safe = re.search(r"^Default safe attributes \((\d+)\): `([^`]+)`", section, re.MULTILINE)
    assert safe is not None
    assert set(safe[2].split()) == rpyc.DEFAULT_CONFIG["safe_attrs"]
    assert int(safe[1]) == len(rpyc.DEFAULT_CONFIG["safe_attrs"])
    # These two are described in words.
    words = {"safe_attrs", "bind_threads"}
    defaults = {key: ast.literal_eval(cell.strip("`* ")) for key, cell in listed.items() if key not in words}
    assert defaults == {key: value for key, value in rpyc.DEFAULT_CONFIG.items() if key not in words}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_links_lead_somewhere(name: str) -> None:
    """Relative links name files of the repository, and headings in them."""
    text = prose(ROOT / name)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        path = ROOT / name if not file else (ROOT / name).parent / file
        if not path.exists() or (heading and heading not in headings(path)):
            broken.append(target)
    assert not broken


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after the fence, the text, and where its first line is."""

    info: str
    text: str
    path: Path
    line: int


class Reader:
    """Does what the reader of a document would do."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._ports: dict[str, str] = {}
        self._namespace: dict[str, Any] = {"__name__": "__main__"}
        self.programs = 0
        self.checks = 0

    def run(self, block: Block) -> None:
        """Run a block, if it is of a kind that runs."""
        if block.info == "python server":
            self._start(block)
        elif block.info == "sh run":
            subprocess.run(["/bin/sh", "-euc", block.text], check=True, timeout=PATIENCE * 3)
        elif block.info == "python":
            self._execute(block)

    def close(self) -> None:
        """Close what the blocks left open."""
        for value in list(self._namespace.values()):
            if isinstance(value, rpyc.Connection):
                close_quietly(value)
        self._namespace.clear()

    def _start(self, block: Block) -> None:
        self.programs += 1
        named = PORT.search(block.text)
        program = self._rig.program(ANNOUNCE + PORT.sub("0", block.text))
        while not (announced := ANNOUNCED.search(program.line())):
            pass
        if named is not None:
            self._ports[named[0]] = announced[1]

    def _execute(self, block: Block) -> None:
        text = PORT.sub(lambda found: self._ports[found[0]], block.text)
        lines = text.splitlines()
        for statement in ast.parse(text).body:
            assert statement.end_lineno is not None
            comment = lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
            where = f"{block.path.name}, line {block.line + statement.lineno - 1}"
            ast.increment_lineno(statement, block.line - 1)
            if comment.startswith("# ->"):
                self._compare(statement, comment.removeprefix("# ->").strip(), block.path, where)
            elif comment.startswith("# raises"):
                self._expect(statement, comment.removeprefix("# raises").strip(), block.path, where)
            else:
                self._do(statement, block.path)

    def _do(self, statement: ast.stmt, path: Path) -> None:
        exec(compile(ast.Module([statement], []), path, "exec"), self._namespace)

    def _compare(self, statement: ast.stmt, expected: str, path: Path, where: str) -> None:
        assert isinstance(statement, ast.Expr), f"{where}: only an expression has a value"
        value = eval(compile(ast.Expression(statement.value), path, "eval"), self._namespace)
        assert repr(value) == expected, where
        self.checks += 1

    def _expect(self, statement: ast.stmt, expected: str, path: Path, where: str) -> None:
        name, _, text = expected.partition(": ")
        try:
            self._do(statement, path)
        except Exception as error:
            names = [cls.__name__ for cls in type(error).__mro__]
            assert name in names and str(error).startswith(text), f"{where}: {error!r}"
        else:
            pytest.fail(f"{where}: no {name}")
        self.checks += 1


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return [Block(match[1].strip(), match[2], path, text.count("\n", 0, match.start(2)) + 1) for match in found]


def prose(path: Path) -> str:
    """A document without its code."""
    text = re.sub(r"^```.*\n(?:.*\n)*?```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "code", text)


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*\n(?:.*\n)*?```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
