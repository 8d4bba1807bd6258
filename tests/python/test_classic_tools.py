"""Classic mode: connecting, moving files and values, working by hand on the other side."""

from __future__ import annotations

import io
import multiprocessing
import os
import pty
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Rig, close_quietly, eventually

import rpyc
from rpyc.core.netref import BaseNetref
from rpyc.utils import classic

CHUNK = 1000


@pytest.fixture
def conn(leak_check: None) -> Iterator[Any]:
    """A classic connection to another process, so that nothing is shared by accident."""
    script = Path(rpyc.__file__).parent / "cli" / "rpyc_classic.py"
    conn = classic.connect_subproc(str(script))
    yield conn
    close_quietly(conn)
    conn.proc.wait(PATIENCE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with files of all sizes, a subdirectory and an empty one."""
    folder = tmp_path / "tree"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "nothing").touch()
    (folder / "small.txt").write_text("small")
    (folder / "exact.bin").write_bytes(os.urandom(CHUNK))
    (folder / "sub" / "large.bin").write_bytes(os.urandom(CHUNK * 3 + 17))
    (folder / "sub" / "deep" / "name with spaces").write_text("ü")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a directory: relative name -> bytes, None for directories."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


# ------------------------------------------------------------------------- copying


def test_a_directory_goes_there_and_back(conn: Any, tree: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "new" / "there", tmp_path / "back"
    classic.upload(conn, str(tree), str(there), chunk_size=CHUNK)
    assert contents(there) == contents(tree)
    classic.download(conn, str(there), str(back), chunk_size=CHUNK)
    assert contents(back) == contents(tree)
    classic.download(conn, str(there), str(back))
    assert contents(back) == contents(tree)


def test_a_filter_decides_by_base_name(conn: Any, tree: Path, tmp_path: Path) -> None:
    wanted = lambda name: name == "sub" or name.endswith(".bin")  # noqa: E731 (a predicate)
    for number, copy in enumerate((classic.upload, classic.download)):
        target = tmp_path / str(number)
        copy(conn, str(tree), str(target), filter=wanted)
        assert set(contents(target)) == {"exact.bin", "sub", "sub/large.bin"}


def test_what_is_no_file_is_refused_or_passed_over(conn: Any, tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "fifo")
    for number, copy in enumerate((classic.upload, classic.download)):
        with pytest.raises(ValueError, match="neither a file nor a directory"):
            copy(conn, str(tree / "fifo"), str(tmp_path / "x"))
        with pytest.raises(ValueError, match="neither a file nor a directory"):
            copy(conn, str(tree / "missing"), str(tmp_path / "x"))
        copy(conn, str(tree / "missing"), str(tmp_path / "x"), ignore_invalid=True)
        target = tmp_path / f"copy{number}"
        copy(conn, str(tree), str(target))
        assert "fifo" not in contents(target)
        assert len(contents(target)) == 8


def test_a_listing_with_paths_writes_nowhere_else(tmp_path: Path) -> None:
    """A peer that answers with paths instead of names must not choose where we write."""
    (tmp_path / "source").mkdir()
    (tmp_path / "evil").write_text("evil")

    class Evil:
        modules = types.SimpleNamespace(
            os=types.SimpleNamespace(listdir=lambda path: ["../evil"], path=os.path)
        )

    target = tmp_path / "safe" / "target"
    with pytest.raises(ValueError, match=r"it is a path"):
        classic.download_dir(Evil(), str(tmp_path / "source"), str(target))  # type: ignore[arg-type]
    assert contents(tmp_path / "safe") == {"target": None}


def test_progress_is_reported(conn: Any, tree: Path, tmp_path: Path) -> None:
    source, size = str(tree / "sub" / "large.bin"), CHUNK * 3 + 17
    steps = [(source, done, size) for done in (0, CHUNK, CHUNK * 2, CHUNK * 3, size)]
    told: list[Any] = []
    for copy in (classic.upload_file, classic.download_file):
        copy(
            conn,
            source,
            str(tmp_path / "copy"),
            chunk_size=CHUNK,
            progress=lambda *step: told.append(step),
        )
        assert told == steps
        told.clear()
    classic.upload(
        conn,
        str(tree),
        str(tmp_path / "all"),
        progress=lambda path, done, total: told.append((path, done == total)),
    )
    assert {path for path, complete in told if complete} == {
        str(path) for path in tree.rglob("*") if path.is_file()
    }


def test_a_progress_bar_is_for_terminals(
    conn: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = str(tree / "exact.bin"), str(tmp_path / "copy")
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    classic.upload_file(conn, source, target, progress=True)
    assert plain.getvalue() == ""
    primary, secondary = pty.openpty()
    try:
        with os.fdopen(secondary, "w") as terminal:
            monkeypatch.setattr(sys, "stderr", terminal)
            classic.upload_file(conn, source, target)
            classic.upload_file(conn, source, target, progress=True)
            shown = os.read(primary, 10000).decode()
    finally:
        os.close(primary)
    assert shown.startswith("\r[")
    assert f"100% {source}" in shown
    assert shown.count("100%") == 1
    assert shown.endswith("\n")


def test_a_package_is_uploaded(conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "here" / "parcel"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("value = 5")
    (package / "part.py").write_text("value = 6")
    monkeypatch.syspath_prepend(str(package.parent))
    import parcel  # type: ignore[import-not-found]

    target = tmp_path / "there"
    classic.upload_package(conn, parcel, str(target / "parcel"))
    conn.modules.sys.path.insert(0, str(target))
    assert conn.modules["parcel.part"].value == 6
    assert conn.modules.parcel.__file__ == str(target / "parcel" / "__init__.py")
    site = tmp_path / "site"
    conn.execute(f"import sysconfig; sysconfig.get_path = lambda name: {str(site)!r}")
    classic.upload_module(conn, parcel)
    assert (site / "parcel" / "part.py").exists()
    del sys.modules["parcel"]


def test_a_module_without_source_cannot_be_uploaded(conn: Any) -> None:
    with pytest.raises(TypeError):
        classic.upload_package(conn, sys)


# -------------------------------------------------------------------------- values


def test_obtain_and_deliver(conn: Any) -> None:
    remote = conn.modules.sys.path
    assert isinstance(remote, BaseNetref)
    local = classic.obtain(remote)
    assert type(local) is list
    assert local == [str(item) for item in remote]
    delivered = classic.deliver(conn, [1, [2]])
    assert isinstance(delivered, BaseNetref)
    conn.namespace["delivered"] = delivered
    assert conn.eval("type(delivered) is list and delivered == [1, [2]]")
    assert classic.obtain({"a": 1}) == {"a": 1}


def test_the_mock_connection_is_this_interpreter() -> None:
    mock = classic.MockClassicConnection()
    assert mock.modules.sys is sys
    assert mock.modules["os.path"] is os.path
    assert mock.builtins.len is len
    assert mock.builtin is mock.builtins
    mock.execute("x = 5")
    assert mock.eval("x + 1") == 6
    assert mock.namespace["x"] == 5
    assert mock.root.namespace is mock.namespace
    assert mock.teleport(lambda value: value * 2)(4) == 8


# ---------------------------------------------------------------------- by hand


def test_redirected_stdio(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    output, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    with classic.redirected_stdio(conn):
        conn.execute("import sys; print('out', input()); sys.stderr.write('err')")
    conn.execute("print('not seen')")
    assert output.getvalue() == "out typed\n"
    assert errors.getvalue() == "err"


def test_redirected_stdio_is_undone_after_an_error(conn: Any) -> None:
    before = conn.modules.sys.stdout
    with pytest.raises(ZeroDivisionError), classic.redirected_stdio(conn):
        raise ZeroDivisionError
    assert conn.modules.sys.stdout is before


def test_interact(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(
        sys, "stdin", io.StringIO("import os\nprint(os.getpid(), word, type(conn).__name__)\n")
    )
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    names = {"word": "hello"}
    classic.interact(conn, names)
    assert f"{conn.proc.pid} hello rpyc.core.protocol.Connection" in output.getvalue()
    assert names == {"word": "hello"}
    assert conn._config["sync_request_timeout"] == 30
    assert conn.root.getconn()._config["sync_request_timeout"] == 30


def test_post_mortem(conn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no request"):
        classic.pm(conn)
    with pytest.raises(ZeroDivisionError):
        conn.execute("def fail(dividend):\n    dividend / 0\nfail(1234)")
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("p dividend + 1\nq\n"))
    monkeypatch.setattr(sys, "stdout", output)
    classic.pm(conn)
    assert "1235" in output.getvalue()


# ------------------------------------------------------------------- connecting


def test_names_that_programs_use() -> None:
    assert classic.DEFAULT_SERVER_PORT == 18812
    assert classic.DEFAULT_SERVER_SSL_PORT == 18821
    assert classic.SlaveService is rpyc.ClassicService
    assert classic.factory is rpyc.utils.factory
    assert classic.upload_module is classic.upload_package


def test_a_classic_session_over_pipes(conn: Any) -> None:
    assert conn.modules.os.getpid() == conn.proc.pid
    conn.execute("x = [1, 2]")
    assert conn.eval("len(x)") == 2
    assert list(conn.namespace["x"]) == [1, 2]
    conn.close()
    assert conn.proc.wait(PATIENCE) == 0


def test_classic_over_tcp_unix_thread_and_process(rig: Rig) -> None:
    tcp = rig.serve(rpyc.ClassicService)
    unix = rig.serve(rpyc.ClassicService, unix=True)
    for connect in (
        lambda: classic.connect("127.0.0.1", tcp.port, keepalive=True),
        lambda: classic.unix_connect(unix.port),
        classic.connect_thread,
        lambda: classic.connect_multiprocess({"given": 5}),
    ):
        conn: Any = connect()
        rig.on_end(close_quietly, conn)
        assert conn.eval("6 * 7") == 42
    assert conn.eval("given") == 5
    conn.close()
    eventually(lambda: not multiprocessing.active_children())


def test_the_server_script_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leak_check: None
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"rpyc_classic\.py is not on PATH"):
        classic.connect_subproc()
    script = tmp_path / "rpyc_classic.py"
    shutil.copy(Path(rpyc.__file__).parent / "cli" / "rpyc_classic.py", script)
    script.chmod(0o755)
    conn = classic.connect_subproc()
    assert conn.eval("1 + 1") == 2
    conn.close()
    assert conn.proc.wait(PATIENCE) == 0
