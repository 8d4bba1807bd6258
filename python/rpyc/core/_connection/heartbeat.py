"""Signs of life: finding a peer that is silent, and showing the peer that this side lives.

# Theory of operation

One daemon thread tends all connections of the process that want it. It starts with the first of
them and ends with the last, and it never waits for a peer, never runs code of the user, and holds
connections weakly.

A connection with the config key ``heartbeat`` begins with a request for signs of life. A peer that
knows it sends an empty frame several times within that time, from a thread of this kind, so it
does so even while it runs a long request. RPyC answers the request with an exception. Such a peer
is pinged when it was silent for half of the time; it answers when it serves.

Whatever arrives is a sign of life. If a thread reads the connection the engine counts for it;
otherwise the thread here looks at what is there, and takes only what answers its own questions.
(``crates/rpyc/src/link/tending.rs``.)
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from rpyc.core import consts
from rpyc.lib import spawn

if TYPE_CHECKING:
    from rpyc.core.protocol import Connection

_PARTS = 4
"""Signs of life within the time that a silence may last; and looks for them."""

_SHORTEST = 0.05
"""Seconds between two signs of life, at least: peers may ask for them as often as they like."""

_LONGEST = 24 * 3600.0

_FULL = 32 * 1024
"""With so many bytes unread nobody serves this side, and the peer may have no room for more signs."""


class Pulse:
    """One connection, as the thread sees it.

    ``limit``: seconds that the peer may be silent, or None. ``interval``: seconds between two signs
    of life for the peer, or None if it did not ask for any.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = weakref.ref(conn, lambda _: _tender.wake())
        self.limit: float | None = None
        self.interval: float | None = None
        self.due = 0.0
        self._pause = _LONGEST
        self._signs: tuple[int, int] | None = None
        self._heard = time.monotonic()
        self._asked = False
        self._peer_beats = False

    def plan(self) -> None:
        """Set the next moment to act, soon."""
        times = [] if self.limit is None else [self.limit / _PARTS]
        times += [] if self.interval is None else [self.interval]
        self._pause = max(min(times, default=_LONGEST), _SHORTEST / 2)
        self.due = time.monotonic() + self._pause

    def ask_for_signs(self, conn: Connection, seconds: float) -> None:
        """Ask the peer to send signs of life."""
        conn._ask(consts.HANDLE_HEARTBEAT, (seconds / _PARTS,), self._note_answer)

    def _note_answer(self, is_exc: bool, _: object) -> None:
        self._peer_beats = not is_exc

    def act(self, now: float) -> bool:
        """Do what is due; False if nothing will be any more."""
        conn = self.conn()
        if conn is None:
            return False
        # Also while it is being closed: that asks the peer, too.
        if conn._end_reason is None:
            if self.interval is not None:
                conn._show_life()
            if self.limit is not None:
                self._judge(conn, self.limit, now)
        if conn._end_reason is not None:
            if not conn.closed:
                # What follows is the user's code.
                spawn(_end, conn)
            return False
        self.due = now + self._pause
        return True

    def _judge(self, conn: Connection, limit: float, now: float) -> None:
        signs = conn._tend()
        if signs != self._signs or signs[1] >= _FULL:
            self._signs = signs
            self._heard = now
            self._asked = False
        silent = now - self._heard
        if silent >= limit:
            conn._give_up_silent(limit)
        elif silent >= limit / 2 and not self._asked and not self._peer_beats:
            self._asked = True
            conn._ask(consts.HANDLE_PING, ("",), None)


class _Tender:
    """The thread, and what it tends."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pulses: dict[int, Pulse] = {}
        self._thread: threading.Thread | None = None

    def pulse_of(self, conn: Connection) -> Pulse:
        """Return the pulse of a connection; :meth:`start` makes it count."""
        with self._changed:
            known = self._pulses.get(id(conn))
        return known if known is not None and known.conn() is conn else Pulse(conn)

    def start(self, conn: Connection, pulse: Pulse) -> None:
        """Tend a connection from now on."""
        with self._changed:
            pulse.plan()
            self._pulses[id(conn)] = pulse
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="RpycHeartbeat", daemon=True)
                self._thread.start()

    def forget(self, conn: Connection) -> None:
        """Tend a connection no longer."""
        if sys.is_finalizing():
            # The thread is gone, and may have held the lock.
            return
        with self._changed:
            if self._pulses.pop(id(conn), None) is not None:
                self._changed.notify()

    def wake(self) -> None:
        """Have the thread look again. Called by finalizers, which must not wait for a lock."""
        if self._changed.acquire(blocking=False):
            try:
                self._changed.notify()
            finally:
                self._changed.release()

    def _run(self) -> None:
        while True:
            with self._changed:
                # Connections that died have left their entries.
                gone = [key for key, pulse in self._pulses.items() if pulse.conn() is None]
                for key in gone:
                    del self._pulses[key]
                if not self._pulses:
                    self._thread = None
                    return
                now = time.monotonic()
                first = min(pulse.due for pulse in self._pulses.values())
                if first > now:
                    self._changed.wait(first - now)
                    continue
                due = [item for item in self._pulses.items() if item[1].due <= now]
            for key, pulse in due:
                alive = False
                # A connection that can't be used any more; whoever serves it finds out why.
                with contextlib.suppress(Exception):
                    alive = pulse.act(now)
                if not alive:
                    with self._changed:
                        if self._pulses.get(key) is pulse:
                            del self._pulses[key]


_tender = _Tender()


def watch(conn: Connection, seconds: float) -> None:
    """End a connection whose peer gives no sign of life for so many seconds."""
    if not (isinstance(seconds, (int, float)) and seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"the config key heartbeat is a number of seconds, not {seconds!r}")
    pulse = _tender.pulse_of(conn)
    pulse.limit = float(seconds)
    _tender.start(conn, pulse)
    pulse.ask_for_signs(conn, pulse.limit)


def beat(conn: Connection, seconds: object) -> None:
    """Send a sign of life every so many seconds: the peer has asked for it."""
    if not (isinstance(seconds, (int, float)) and seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"a heartbeat is asked for by a number of seconds, not {seconds!r}")
    pulse = _tender.pulse_of(conn)
    pulse.interval = min(max(float(seconds), _SHORTEST), _LONGEST)
    _tender.start(conn, pulse)


def forget(conn: Connection) -> None:
    """Tend a connection no longer: it has ended."""
    # Most are never tended: for them no lock is taken.
    if id(conn) in _tender._pulses:
        _tender.forget(conn)


def _end(conn: Connection) -> None:
    with contextlib.suppress(Exception):
        conn._on_link_end()


def _after_fork() -> None:
    # The thread did not come along, and the connections belong to the parent.
    global _tender
    _tender = _Tender()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
