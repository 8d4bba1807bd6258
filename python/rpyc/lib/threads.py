"""Starting daemon threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rpyc.lib.identity import get_id_pack

_T = TypeVar("_T")

SPAWN_THREAD_PREFIX = "RpycSpawnThread"


def spawn(func: Callable[..., object], /, *args: Any, **kwargs: Any) -> threading.Thread:
    """Start a daemon thread that runs ``func(*args, **kwargs)``, and return it."""
    parts = (SPAWN_THREAD_PREFIX, *map(str, get_id_pack(func)))
    thread = threading.Thread(
        name="-".join(parts), target=func, args=args, kwargs=kwargs, daemon=True
    )
    thread.start()
    return thread


def spawn_waitready(
    init: Callable[[], _T], main: Callable[[], object]
) -> tuple[threading.Thread, _T]:
    """Start a daemon thread that runs ``init()``, then ``main()``.

    Returns when ``init`` is done: the thread and the result of ``init``. What ``init`` raises is
    raised here, and ``main`` does not run.
    """
    done = threading.Event()
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(init())
        except BaseException as error:
            errors.append(error)
            return
        finally:
            done.set()
        main()

    thread = spawn(run)
    done.wait()
    if errors:
        raise errors.pop()
    return thread, results.pop()
