"""Copying files and directories over a classic connection."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rpyc.core.consts import STREAM_CHUNK
from rpyc.utils._progress import Progress, reporter

if TYPE_CHECKING:
    from types import ModuleType

    from rpyc.core.protocol import Connection

#: Decides by a base name whether an entry of a directory is copied.
Filter = Callable[[str], object]


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
        tell = reporter(progress, localpath, lambda: os.fstat(source.fileno()).st_size)
        _copy(source.read, target.write, chunk_size, tell)


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
        tell = reporter(progress, remotepath, lambda: conn.modules.os.path.getsize(remotepath))
        _copy(source.read, target.write, chunk_size, tell)


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
            source = remote.path.join(remotepath, name)
            target = os.path.join(localpath, _base_name(name))
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
    import inspect

    source = inspect.getsourcefile(module)
    if source is None:
        raise TypeError(f"cannot upload {module.__name__!r}: it has no source file")
    if remotepath is None:
        site = conn.modules["sysconfig"].get_path("purelib")
        remotepath = conn.modules.os.path.join(site, *module.__name__.split("."))
    upload(conn, os.path.dirname(os.path.abspath(source)), remotepath, chunk_size=chunk_size)


upload_module = upload_package


def _copy(
    read: Callable[[int], bytes],
    write: Callable[[bytes], object],
    chunk_size: int,
    tell: Callable[[int], object] | None,
) -> None:
    done = 0
    if tell is not None:
        tell(done)
    while chunk := read(chunk_size):
        write(chunk)
        if tell is not None:
            done += len(chunk)
            tell(done)


def _base_name(name: Any) -> str:
    # A listing names entries of that directory. A peer that answers with a path
    # instead would make us write somewhere else.
    text = str(name)
    if text in ("", ".", "..") or os.path.basename(text) != text:
        raise ValueError(
            f"cannot download {text!r}: the other side lists it as a file name, but it is a path"
        )
    return text
