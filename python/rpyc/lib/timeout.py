"""Time limits that many waits can share."""

from __future__ import annotations

import time


class Timeout:
    """A point in time until which something may take.

    ``timeout`` is a number of seconds from now, ``None`` or a negative number for "no limit", or
    another ``Timeout``, whose end is taken over. The clock is the monotonic one, so a change of
    the system's time moves nothing.

    Attributes: ``finite`` says whether there is a limit; ``tmax`` is its monotonic time in seconds,
    or ``None``.
    """

    __slots__ = ("__weakref__", "finite", "tmax")

    finite: bool
    tmax: float | None

    def __init__(self, timeout: float | Timeout | None) -> None:
        if isinstance(timeout, Timeout):
            self.finite = timeout.finite
            self.tmax = timeout.tmax
        elif timeout is None or timeout < 0:
            self.finite = False
            self.tmax = None
        else:
            self.finite = True
            self.tmax = time.monotonic() + timeout

    def expired(self) -> bool:
        """Whether the limit has passed. Never true without a limit."""
        return self.tmax is not None and time.monotonic() >= self.tmax

    def timeleft(self) -> float | None:
        """The seconds that are left, at least 0; ``None`` without a limit."""
        if self.tmax is None:
            return None
        return max(0.0, self.tmax - time.monotonic())

    def sleep(self, interval: float) -> None:
        """Sleep ``interval`` seconds, but not beyond the limit."""
        left = self.timeleft()
        time.sleep(interval if left is None else min(interval, left))

    def __repr__(self) -> str:
        left = self.timeleft()
        return "<Timeout without limit>" if left is None else f"<Timeout, {left:.3f} s left>"
