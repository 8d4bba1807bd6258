"""The table of scenarios, and what they share."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, TypeVar

Scenario = Callable[[Any], None]
E_co = TypeVar("E_co", bound=BaseException)

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Register a scenario under its own name. It gets a `peer_client.Peer` and fails by raising."""
    assert function.__name__ not in SCENARIOS, f"two scenarios are called {function.__name__}"
    SCENARIOS[function.__name__] = function
    return function


def raises(kind: type[E_co], function: Callable[..., Any], *args: Any, **kwargs: Any) -> E_co:
    """Call the function and return the exception of the given kind that it raises; AssertionError if it doesn't."""
    try:
        result = function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got {result!r}")


def eventually(read: Callable[[], Any], wanted: Any, seconds: float = 5.0) -> None:
    """Poll `read` until it returns `wanted`; AssertionError with the last value when the time is over."""
    limit = time.monotonic() + seconds
    while True:
        gc.collect()
        got = read()
        if got == wanted:
            return
        assert time.monotonic() < limit, f"expected {wanted!r}, still {got!r} after {seconds} s"
        time.sleep(0.01)
