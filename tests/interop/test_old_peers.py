"""RPyC before 6.0 speaks another dialect: servers notice, clients are told.

The interpreters with the old versions come from RPYC_OLD_PYTHONS, a list separated by colons; by default
`.venv-rival-5/bin/python` and `.venv-rival-4/bin/python` at the top of the repository, which `make rival` makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROGRAM = str(HERE / "old_peer.py")
TOP = HERE.parents[1]
DEFAULT = [str(TOP / f".venv-rival-{major}" / "bin" / "python") for major in (5, 4)]
OLD = os.environ["RPYC_OLD_PYTHONS"].split(":") if "RPYC_OLD_PYTHONS" in os.environ else DEFAULT
LIMIT = 30.0


@pytest.fixture(params=OLD, ids=lambda path: Path(path).parents[1].name)
def old(request: pytest.FixtureRequest) -> str:
    """An interpreter with an old RPyC."""
    path: str = request.param
    if not Path(path).exists():
        pytest.fail(f"{path} is missing: run `make rival`, or set RPYC_OLD_PYTHONS")
    return path


@pytest.fixture
def serve() -> Iterator[object]:
    """Starts servers; ends them."""
    started: list[subprocess.Popen[str]] = []

    def start(python: str) -> int:
        process = subprocess.Popen(
            [python, "-W", "ignore", PROGRAM, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    yield start
    for process in started:
        process.communicate(timeout=LIMIT)


def drive(python: str, port: int, config: str = "{}") -> subprocess.CompletedProcess[str]:
    """Run the client to its end."""
    command = [python, "-W", "ignore", PROGRAM, "drive", str(port), config]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_an_old_client_finds_our_server_speaking_its_dialect(old: str, serve: object) -> None:
    done = drive(old, serve(sys.executable))  # type: ignore[operator]
    assert done.stdout.strip() == "done", done.stderr


def test_our_client_speaks_the_old_dialect_when_told(old: str, serve: object) -> None:
    done = drive(sys.executable, serve(old), "{'protocol_version': 5}")  # type: ignore[operator]
    assert done.stdout.strip() == "done", done.stderr


def test_our_client_names_the_mismatch_and_the_option(old: str, serve: object) -> None:
    done = drive(sys.executable, serve(old))  # type: ignore[operator]
    assert done.returncode != 0
    assert 'the peer speaks the protocol of RPyC 5.x or older' in done.stderr
    assert 'config={"protocol_version": 5}' in done.stderr


def test_a_new_peer_is_named_when_the_old_dialect_was_asked_for(serve: object) -> None:
    done = drive(sys.executable, serve(sys.executable), "{'protocol_version': 5}")  # type: ignore[operator]
    # A server that is spoken to in the old dialect answers in it, so this just works.
    assert done.stdout.strip() == "done", done.stderr


def test_an_unknown_version_is_refused(serve: object) -> None:
    done = drive(sys.executable, serve(sys.executable), "{'protocol_version': 7}")  # type: ignore[operator]
    assert done.returncode != 0 and "protocol_version is 5" in done.stderr
