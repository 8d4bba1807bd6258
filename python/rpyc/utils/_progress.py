"""Showing how far a copy is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TextIO

#: Called with the path of a file, the bytes copied so far, and its size in bytes.
ProgressCallback = Callable[[str, int, int], object]

#: What callers may ask for: a callback, ``True`` for a bar on a terminal, or nothing.
Progress = ProgressCallback | bool | None

_WIDTH = 30


def reporter(
    progress: Progress, path: str, size: Callable[[], int]
) -> Callable[[int], object] | None:
    """Return what to call with the bytes of ``path`` copied so far, if anybody wants to know.

    :param size: returns the bytes of the file; not called, since that may cost
        a request, if nobody does.
    """
    if progress is True:
        stderr = sys.stderr
        if stderr is None or not stderr.isatty():
            return None
        show: ProgressCallback = partial(_draw, stderr)
    elif progress:
        show = progress
    else:
        return None
    total = size()
    return lambda done: show(path, done, total)


def _draw(terminal: TextIO, path: str, done: int, total: int) -> None:
    # A file may grow while it is copied, and an empty one has no fraction.
    fraction = min(done / total, 1.0) if total else 1.0
    bar = "#" * int(fraction * _WIDTH)
    terminal.write(f"\r[{bar:<{_WIDTH}}] {fraction:4.0%} {path}")
    if done >= total:
        terminal.write("\n")
    terminal.flush()
