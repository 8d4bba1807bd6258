"""Copying files and directories over a classic connection."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from rpyc.core.consts import STREAM_CHUNK
from rpyc.utils._progress import Progress, reporter

if TYPE_CHECKING:
    from types import ModuleType

    from rpyc.core.protocol import Connection

#: Decides by a base name whether an entry of a directory is copied.
Filter = Callable[[str], object]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


def upload(
    conn: Connection,
    localpath: str,
    remotepath: str,
    filter: Filter | None = None,
    ignore_invalid: bool = False,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a local file or directory to the other side.

    :param localpath: what to copy.
    :param remotepath: the name of the copy.
    :param filter: called with the base name of each entry of a directory; only
        those for which it is true are copied.
    :param ignore_invalid: pass over what is neither file nor directory.
    :param chunk_size: bytes to send at a time.
    :param progress: called with ``(path, bytes done, bytes of the file)`` at
        the start of each file and after each chunk; ``True`` shows a bar if
        standard error is a terminal.
    :raises ValueError: ``localpath`` is neither a file nor a directory.
    """
    if os.path.isdir(localpath):
        upload_dir(conn, localpath, remotepath, filter, chunk_size, progress)
    elif os.path.isfile(localpath):
        upload_file(conn, localpath, remotepath, chunk_size, progress)
    elif not ignore_invalid:
        raise ValueError(f"cannot upload {localpath!r}: it is neither a file nor a directory")


def upload_file(
    conn: Connection,
    localpath: str,
    remotepath: str,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a local file to the other side; see :func:`upload`."""
    with open(localpath, "rb") as source, closing(conn.builtins.open(remotepath, "wb")) as target:
        _copy(
            source,
            target,
            chunk_size,
            progress,
            localpath,
            lambda: os.fstat(source.fileno()).st_size,
        )


def upload_dir(
    conn: Connection,
    localpath: str,
    remotepath: str,
    filter: Filter | None = None,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a local directory with all below it to the other side; see :func:`upload`."""
    remote = conn.modules.os
    if not remote.path.isdir(remotepath):
        remote.makedirs(remotepath)
    for name in os.listdir(localpath):
        if filter is None or filter(name):
            source, target = os.path.join(localpath, name), remote.path.join(remotepath, name)
            upload(conn, source, target, filter, True, chunk_size, progress)


def download(
    conn: Connection,
    remotepath: str,
    localpath: str,
    filter: Filter | None = None,
    ignore_invalid: bool = False,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a file or directory of the other side to this one.

    The mirror image of :func:`upload`, with the same options.

    :raises ValueError: ``remotepath`` is neither a file nor a directory.
    """
    path = conn.modules.os.path
    if path.isdir(remotepath):
        download_dir(conn, remotepath, localpath, filter, chunk_size, progress)
    elif path.isfile(remotepath):
        download_file(conn, remotepath, localpath, chunk_size, progress)
    elif not ignore_invalid:
        raise ValueError(f"cannot download {remotepath!r}: it is neither a file nor a directory")


def download_file(
    conn: Connection,
    remotepath: str,
    localpath: str,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a file of the other side to this one; see :func:`download`."""
    with closing(conn.builtins.open(remotepath, "rb")) as source, open(localpath, "wb") as target:
        size = conn.modules.os.path.getsize
        _copy(source, target, chunk_size, progress, remotepath, lambda: size(remotepath))


def download_dir(
    conn: Connection,
    remotepath: str,
    localpath: str,
    filter: Filter | None = None,
    chunk_size: int = STREAM_CHUNK,
    progress: Progress = None,
) -> None:
    """Copy a directory of the other side with all below it; see :func:`download`."""
    os.makedirs(localpath, exist_ok=True)
    remote = conn.modules.os
    for name in remote.listdir(remotepath):
        if filter is None or filter(name):
            source, target = (
                remote.path.join(remotepath, name),
                os.path.join(localpath, _base_name(name)),
            )
            download(conn, source, target, filter, True, chunk_size, progress)


def upload_package(
    conn: Connection,
    module: ModuleType,
    remotepath: str | None = None,
    chunk_size: int = STREAM_CHUNK,
) -> None:
    """Copy the directory that holds a module's source to the other side.

    :param module: an imported module or package.
    :param remotepath: the name of the copy; by default a directory named after
        the module where the other side keeps its installed packages.
    :raises TypeError: the module has no source file.
    """
    source = inspect.getsourcefile(module)
    if source is None:
        raise TypeError(f"cannot upload {module.__name__!r}: it has no source file")
    if remotepath is None:
        site = conn.modules["sysconfig"].get_path("purelib")
        remotepath = conn.modules.os.path.join(site, *module.__name__.split("."))
    upload(conn, os.path.dirname(os.path.abspath(source)), remotepath, chunk_size=chunk_size)


upload_module = upload_package


def _copy(
    source: _Readable,
    target: _Writable,
    chunk_size: int,
    progress: Progress,
    path: str,
    size: Callable[[], int],
) -> None:
    report = reporter(progress)
    read, write = source.read, target.write
    if report is None:
        while chunk := read(chunk_size):
            write(chunk)
        return
    # The size costs a request, so it is only asked for if somebody wants it.
    done, total = 0, size()
    report(path, done, total)
    while chunk := read(chunk_size):
        write(chunk)
        done += len(chunk)
        report(path, done, total)


def _base_name(name: Any) -> str:
    # A listing names entries of that directory. A peer that answers with a path
    # instead would make us write somewhere else.
    text = str(name)
    if text in ("", ".", "..") or os.path.basename(text) != text:
        raise ValueError(
            f"cannot download {text!r}: the other side lists it as a file name, but it is a path"
        )
    return text
