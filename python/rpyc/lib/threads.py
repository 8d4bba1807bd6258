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
    thread = _thread(func, *args, **kwargs)
    thread.start()
    return thread


def launch(func: Callable[..., object], /, *args: Any) -> None:
    """Start a daemon thread that runs ``func(*args)``, and go on before it runs.

    :func:`spawn` returns when the thread runs. For one that accepts clients these are two changes of
    threads for each client, which take longer than serving a call.
    """
    thread = _thread(func, *args)
    # What `start` waits for: there is no public way to tell it not to. A Python whose `start` waits for
    # something else waits, and all works as before.
    vars(thread)["_started"] = _NotAwaited()
    thread.start()


class _NotAwaited(threading.Event):
    """An event for which nobody waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        return True


def _thread(func: Callable[..., object], /, *args: Any, **kwargs: Any) -> threading.Thread:
    parts = (SPAWN_THREAD_PREFIX, *map(str, get_id_pack(func)))
    return threading.Thread(
        name="-".join(parts), target=func, args=args, kwargs=kwargs, daemon=True
    )


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
